// Records what a program does to the files below some directories, in enough detail for
// powerloss.py to build every state a power loss may leave. One thread at a time.
//
// DIR/start.jsonl   one line for each entry that existed: path, inode, kind, mode
// DIR/events.jsonl  one line for each successful call, in the order of their ends
// DIR/data          the bytes written; events point into it
//
// Inodes are named "dev:handle" (name_to_handle_at), since numbers are reused at once on ext4.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "json.h"
#include "tracee.h"

namespace cairn::crash {

// What is looked up before a call runs, because it is gone afterwards.
struct RecordedCall {
  bool wanted = false;
  bool existed = false;               // open: the file was there
  std::vector<std::string> parents;   // inode of each place's directory
  std::vector<std::string> children;  // inode of each place's object, empty when absent
};

class Recorder {
 public:
  // Writes the inventory of `roots`. Check `error()` before use.
  Recorder(const std::string& directory, const std::vector<std::string>& roots);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  const std::string& error() const { return error_; }
  RecordedCall before(const Call& call) const;
  // `number` is the call's count, 0 when it was not counted.
  void after(pid_t tid,
             const Call& call,
             const RecordedCall& seen,
             std::int64_t result,
             std::uint64_t number);

 private:
  void inventory(const std::string& root);
  void write_event(JsonLine& line);
  void record_said(pid_t tid, const Call& call, std::int64_t result, std::uint64_t number);
  void record_open(pid_t tid,
                   const Call& call,
                   const RecordedCall& seen,
                   std::int64_t result,
                   std::uint64_t number);
  void record_data(pid_t tid,
                   const Call& call,
                   const RecordedCall& seen,
                   std::int64_t result,
                   std::uint64_t number);
  void record_names(pid_t tid, const Call& call, const RecordedCall& seen, std::uint64_t number);
  void record_state(const Call& call, const RecordedCall& seen, std::uint64_t number);
  void record_sync(const Call& call, const RecordedCall& seen, std::uint64_t number);

  std::vector<std::string> roots_;
  std::string error_;
  int events_fd_ = -1;
  int data_fd_ = -1;
  std::int64_t data_size_ = 0;
};

// True when `path` is one of `prefixes` or lies below one. "inet" and "@name" match as words.
bool is_below(const std::string& path, const std::vector<std::string>& prefixes);

}  // namespace cairn::crash
