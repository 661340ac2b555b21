// Signals as something to wait for, never as interruptions: they are blocked in every thread and
// taken by the one that waits (sigtimedwait(2)).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cairn::os {

// Blocks the signals in the calling thread and in those that it starts from now on. A child that is
// made meanwhile inherits the mask.
Status block_signals(const std::vector<int>& signals);
Status unblock_signals(const std::vector<int>& signals);

// The next of these signals, which are blocked; nothing when timeout_ms passed.
Result<std::optional<int>> wait_signal(const std::vector<int>& signals, int timeout_ms);

// Writing to a connection whose peer is gone is an error, not the end of the process.
void ignore_broken_pipes();

// True where the descriptor (0, 1, 2) is a terminal.
bool is_terminal(int fd);
// Its width in columns; 80 where nothing says otherwise.
int terminal_columns(int fd);

// Asks on standard error, then reads a line from the terminal that is standard input, which does
// not show it; without its end. kCancelled for Ctrl-C, for an end of input and for more than
// bytes_max.
Result<std::string> read_hidden_line(std::string_view question, std::size_t bytes_max);

}  // namespace cairn::os
