// cairn snapshot download, cairn snapshot import
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/cairn/cli.h"
#include "apps/cairn/output.h"
#include "net/http.h"
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

struct ImportOptions {
  std::string workload;
  std::string file;
  std::vector<std::string> allow;
  std::vector<std::string> skip;
};

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ",") + net::url_encode(word);
  return out;
}

Exit import_file(const Cli& cli, const ImportOptions& options) {
  const std::filesystem::path absolute = std::filesystem::absolute(options.file).lexically_normal();
  const auto open = [&]() -> Result<std::pair<os::Fd, os::Stat>> {
    TRY_ASSIGN(const os::Dir dir, os::Dir::open(absolute.parent_path().string()));
    TRY_ASSIGN(os::Fd file, dir.open_file(absolute.filename().string(), O_RDONLY | O_NONBLOCK));
    TRY_ASSIGN(const os::Stat stat, os::stat_fd(file));
    if (stat.type != os::FileType::kRegular) {
      return Error(Code::kInvalid, options.file + " is not a regular file");
    }
    return std::pair(std::move(file), stat);
  };
  auto opened = open();
  if (!opened.ok()) return fail(cli, Problem(opened.error()));
  const auto file = std::make_shared<os::Fd>(std::move(opened->first));
  std::uint64_t offset = 0;
  net::Request::Source source{
      .size_bytes = opened->second.size_bytes,
      .read = [file, offset](std::span<std::byte> buffer) mutable -> Result<std::size_t> {
        TRY_ASSIGN(const std::size_t size, os::read_at(*file, buffer, offset));
        offset += size;
        return size;
      }};
  return run_long(cli,
                  {.method = "POST",
                   .target = path_of("/api/workloads", {options.workload}) +
                             "/snapshots/import?allow=" + joined(options.allow) +
                             "&skip=" + joined(options.skip),
                   .content_type = "application/octet-stream",
                   .source = std::move(source)},
                  "import into " + options.workload, [](const json& snapshot) {
                    return cell(snapshot, "id") + ": " +
                           human_bytes(snapshot.value("bytes", std::uint64_t{0})) + " in " +
                           cell(snapshot, "files") + " files imported; nothing is restored yet\n";
                  });
}

void add_import(CLI::App& noun, Cli& cli) {
  auto options = std::make_shared<ImportOptions>();
  CLI::App* verb = noun.add_subcommand("import", "Store an archive as a snapshot of a workload");
  verb->add_option("workload", options->workload, "name or id")->required();
  verb->add_option("file", options->file, "a tar: plain, or compressed by gzip or zstd")
      ->required();
  verb->add_option("--allow", options->allow,
                   "beside directories and regular files of root's: links, owners, xattrs")
      ->allow_extra_args(false)
      ->delimiter(',')
      ->check(CLI::IsMember({"links", "owners", "xattrs"}));
  verb->add_option("--skip", options->skip, "leave out instead of refusing: fifos, devices")
      ->allow_extra_args(false)
      ->delimiter(',')
      ->check(CLI::IsMember({"fifos", "devices"}));
  verb->callback([&cli, options] {
    cli.action = [options](const Cli& c) { return import_file(c, *options); };
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
  add_import(noun, cli);
}

}  // namespace cairn::cli
