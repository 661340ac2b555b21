// cairn snapshot download, cairn snapshot import
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/cairn/cli.h"
#include "apps/cairn/output.h"
#include "os/dir.h"
#include "os/file.h"

namespace cairn::cli {

using nlohmann::json;

namespace {

// A file that gets its name when it is whole. What stands under that name meanwhile stays.
class NewFile {
 public:
  static Result<NewFile> open(const std::string& path) {
    const std::filesystem::path absolute = std::filesystem::absolute(path).lexically_normal();
    TRY_ASSIGN(os::Dir dir, os::Dir::open(absolute.parent_path().string()));
    const std::string name = absolute.filename().string();
    TRY(os::check_component(name));
    TRY_ASSIGN(const std::optional<os::Stat> there, dir.find(name));
    if (there && there->type != os::FileType::kRegular) {
      return Error(Code::kInvalid, path + " is not a regular file; -o - is standard output");
    }
    std::string part = "." + name.substr(0, kNameBytesKept) + ".part-" + std::to_string(::getpid());
    TRY_ASSIGN(os::Fd file, dir.open_file(part, O_WRONLY | O_CREAT | O_EXCL, 0600));
    return NewFile(std::move(dir), std::move(file), name, std::move(part));
  }
  NewFile(NewFile&& other) noexcept
      : dir_(std::move(other.dir_)),
        file_(std::move(other.file_)),
        name_(std::move(other.name_)),
        part_(std::exchange(other.part_, {})) {}
  NewFile& operator=(NewFile&&) = delete;
  // A file that is not whole is garbage; its removal is tried once.
  ~NewFile() {
    if (!part_.empty()) (void)dir_.remove_file(part_).ok();
  }

  [[nodiscard]] const os::Fd& file() const { return file_; }

  // Durable under its name; what had the name is replaced in one step.
  Status commit() {
    TRY(os::sync_data(file_));
    const Status renamed = dir_.rename_to(part_, dir_, name_);
    if (renamed.ok()) {
      part_.clear();
      return dir_.sync();
    }
    if (renamed.error().code() != Code::kExists) return renamed;
    TRY(dir_.exchange(part_, dir_, name_));
    TRY(dir_.sync());
    return dir_.remove_file(std::exchange(part_, {}));
  }

 private:
  static constexpr std::size_t kNameBytesKept = 200;  // room for the rest of the name

  NewFile(os::Dir dir, os::Fd file, std::string name, std::string part)
      : dir_(std::move(dir)),
        file_(std::move(file)),
        name_(std::move(name)),
        part_(std::move(part)) {}
  os::Dir dir_;
  os::Fd file_;
  std::string name_;
  std::string part_;
};

struct DownloadOptions {
  std::string id;
  std::string file;
};

// The archive's bytes into fd; the number of them.
Result<std::uint64_t> fetch_archive(const Cli& cli,
                                    const std::string& path,
                                    const os::Fd& fd,
                                    std::optional<Problem>& refused) {
  std::uint64_t bytes = 0;
  Status written;
  auto answer = cli.client().download({.target = path}, [&](std::string_view piece) {
    written = os::write_all(fd, as_bytes(piece));
    bytes += piece.size();
    return written.ok();
  });
  if (!written.ok()) return written.error().with_context("write the archive");
  if (!answer.ok()) {
    return answer.error().with_context("the download broke off, the daemon's log may say why");
  }
  if (!answer->ok()) refused.emplace(answer->status, answer->body);
  return bytes;
}

Exit download(const Cli& cli, const DownloadOptions& options) {
  const Fetched found = fetch(cli, {.target = path_of("/api/snapshots", {options.id})});
  if (found.value == nullptr) return found.exit;
  const std::string path =
      path_of("/api/workloads", {found.value->value("workload_id", std::string())}) +
      path_of("/snapshots", {options.id}) + "/archive";
  std::optional<Problem> refused;
  if (options.file == "-") {
    const os::Fd out(::dup(STDOUT_FILENO));
    const auto bytes = fetch_archive(cli, path, out, refused);
    if (refused) return fail(cli, *refused);
    return bytes.ok() ? Exit::kOk : fail(cli, Problem(bytes.error()));
  }
  auto file = NewFile::open(options.file);
  if (!file.ok()) return fail(cli, Problem(file.error()));
  const auto bytes = fetch_archive(cli, path, file->file(), refused);
  if (refused) return fail(cli, *refused);
  if (!bytes.ok()) return fail(cli, Problem(bytes.error()));
  if (const Status done = file->commit(); !done.ok()) return fail(cli, Problem(done.error()));
  const json result = {{"status", "downloaded"},
                       {"snapshot", options.id},
                       {"file", options.file},
                       {"bytes", *bytes},
                       {"warnings", json::array()}};
  return succeed(cli, result, [](const json& value) {
    return cell(value, "snapshot") + ": " + human_bytes(value.value("bytes", std::uint64_t{0})) +
           " in " + cell(value, "file") + "\n";
  });
}

}  // namespace

void add_archives(CLI::App& noun, Cli& cli) {
  auto options = std::make_shared<DownloadOptions>();
  CLI::App* verb = noun.add_subcommand("download", "Write a snapshot as a .tar.gz");
  verb->add_option("snapshot", options->id, "snapshot id")->required();
  verb->add_option("-o,--output", options->file, "file; - is standard output")->required();
  verb->callback(
      [&cli, options] { cli.action = [options](const Cli& c) { return download(c, *options); }; });
}

}  // namespace cairn::cli
