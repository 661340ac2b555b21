// What an injected fault does to one call. One thread at a time, during a ptrace stop.
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include "tracee.h"

namespace cairn::crash {

// True when a file system without free blocks and inodes would refuse the call. Overwriting
// allocated blocks, exchanges, renames inside one directory, removals and syncs need no space:
// a program that prepared its way back must be able to walk it.
bool needs_space(pid_t tid, const Call& call);

// True for a send whose bytes begin as a GET request does: it changes nothing (RFC 9110, 9.2.1).
// Only of sendto, whose bytes are in one place.
bool asks_only(pid_t tid, const Call& call);

// Edits the registers so that a write-type call moves about half of its bytes (at least one).
// False, and nothing edited, when the call has no legal shorter form.
bool shorten(pid_t tid, const Call& call, user_regs_struct& registers);

// Disk errors make no sense on a socket: the errno a socket call gets in their place.
int socket_error(const Call& call, int error);

// The current offset of an open file; -1 when unknown.
std::int64_t file_position(pid_t tid, int fd);

}  // namespace cairn::crash
