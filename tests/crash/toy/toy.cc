// A toy with the shape of the real thing: it publishes a file and names it in a catalog, and it
// exchanges two volumes for staged ones under a journal. Its bugs prove the crash harness.
//
//   cairn_crash_toy init|publish|restore|recover DIR [BUG]
//
// DIR/volumes/{a,b}   trees of id, data and sub/more; whole old or whole new, both alike
// DIR/staging/        what is being built; empty when nothing runs
// DIR/journal/op      one line of state, changed in place
// DIR/published/      files; DIR/catalog names them, only once they are durable
// DIR/paused          stands for a stopped container: must be gone when nothing runs
//
// Correct order of a restore: journal durable -> trees durable -> EXCHANGING -> exchange each,
// both parents synced -> COMMITTED -> "done" printed -> old trees deleted -> journal deleted.

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

std::string bug;
constexpr const char* kVolumes[] = {"a", "b"};
constexpr const char* kPlanned = "PLANNED   \n";
constexpr const char* kExchanging = "EXCHANGING\n";
constexpr const char* kCommitted = "COMMITTED \n";

bool has_bug(const char* name) {
  return bug == name;
}

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

int open_or_fail(const std::string& path, int flags) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (fd < 0) fail(path.c_str());
  return fd;
}

void sync_fd(int fd, const char* what) {
  if (fsync(fd) != 0 && !has_bug("ignore-sync-error")) fail(what);
}

void sync_directory(const std::string& path) {
  const int fd = open_or_fail(path, O_RDONLY | O_DIRECTORY);
  sync_fd(fd, path.c_str());
  close(fd);
}

void write_all(int fd, const std::string& text, off_t offset) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t wrote =
        pwrite(fd, text.data() + done, text.size() - done, offset + static_cast<off_t>(done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0 && !has_bug("ignore-write-error")) fail("write");
    if (wrote < 0 || has_bug("ignore-short-write")) return;
    done += static_cast<std::size_t>(wrote);
  }
}

enum class Durable : bool { kNo, kYes };

void make_file(const std::string& path, const std::string& text, Durable durable) {
  const int fd = open_or_fail(path, O_WRONLY | O_CREAT | O_TRUNC);
  write_all(fd, text, 0);
  if (durable == Durable::kYes) sync_fd(fd, path.c_str());
  close(fd);
}

void make_directory(const std::string& path) {
  if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) fail(path.c_str());
}

std::string read_text(const std::string& path) {
  char text[8192];
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const ssize_t size = read(fd, text, sizeof text);
  close(fd);
  return {text, size < 0 ? 0 : static_cast<std::size_t>(size)};
}

void remove_tree(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return;
  DIR* directory = opendir(path.c_str());
  if (directory == nullptr) fail(path.c_str());
  while (const dirent* entry = readdir(directory)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") remove_tree(path + "/" + name);
  }
  closedir(directory);
  if (rmdir(path.c_str()) != 0) fail(path.c_str());
}

void make_tree(const std::string& path, const std::string& id) {
  const Durable files = has_bug("no-file-sync") ? Durable::kNo : Durable::kYes;
  make_directory(path);
  make_directory(path + "/sub");
  make_file(path + "/id", id, files);
  make_file(path + "/data", std::string(6000, id[0]), files);
  make_file(path + "/sub/more", "more of " + id, files);
  if (has_bug("no-dir-sync")) return;
  sync_directory(path + "/sub");
  sync_directory(path);
}

// The journal has its full size from the start, so changing the state needs no space.
void set_state(const std::string& root, const char* state) {
  const int fd = open_or_fail(root + "/journal/op", O_WRONLY);
  write_all(fd, state, 0);
  if (!has_bug("no-state-sync")) sync_fd(fd, "journal");
  close(fd);
}

void exchange(const std::string& root, const std::string& volume) {
  const std::string live = root + "/volumes/" + volume;
  const std::string staged = root + "/staging/" + volume;
  if (renameat2(AT_FDCWD, live.c_str(), AT_FDCWD, staged.c_str(), RENAME_EXCHANGE) != 0) {
    fail("exchange");
  }
  if (has_bug("no-parent-sync")) return;
  sync_directory(root + "/volumes");
  sync_directory(root + "/staging");
}

void clean_up(const std::string& root) {
  for (const char* volume : kVolumes) remove_tree(root + "/staging/" + volume);
  sync_directory(root + "/staging");
  if (unlink((root + "/paused").c_str()) != 0 && errno != ENOENT) fail("paused");
  sync_directory(root);
  if (unlink((root + "/journal/op").c_str()) != 0 && errno != ENOENT) fail("journal");
  sync_directory(root + "/journal");
}

void init(const std::string& root) {
  for (const char* name : {"", "/volumes", "/staging", "/journal", "/published"}) {
    make_directory(root + name);
  }
  for (const char* volume : kVolumes) make_tree(root + "/volumes/" + volume, "old");
  make_file(root + "/catalog", "", Durable::kYes);
}

void acknowledge(const char* text) {
  std::puts(text);
  std::fflush(stdout);
}

void write_journal(const std::string& root) {
  make_file(root + "/journal/op.tmp", kPlanned, Durable::kYes);
  if (rename((root + "/journal/op.tmp").c_str(), (root + "/journal/op").c_str()) != 0) {
    fail("journal");
  }
  if (!has_bug("no-journal-dir-sync")) sync_directory(root + "/journal");
}

void restore(const std::string& root) {
  write_journal(root);
  for (const char* volume : kVolumes) make_tree(root + "/staging/" + volume, "new");
  if (!has_bug("no-dir-sync")) sync_directory(root + "/staging");
  make_file(root + "/paused", "", Durable::kYes);

  set_state(root, kExchanging);
  if (has_bug("commit-early")) set_state(root, kCommitted);
  if (has_bug("ack-early")) acknowledge("done");
  for (const char* volume : kVolumes) {
    exchange(root, volume);
    if (has_bug("delete-early")) remove_tree(root + "/staging/" + volume);
  }
  set_state(root, kCommitted);

  acknowledge("done");
  clean_up(root);
}

void go_back(const std::string& root) {
  for (const char* volume : kVolumes) {
    const bool exchanged = read_text(root + "/volumes/" + volume + "/id") == "new";
    if (exchanged || has_bug("blind-exchange")) exchange(root, volume);
  }
}

// A row that was being written may be a torn one.
void repair_catalog(const std::string& root) {
  const std::string rows = read_text(root + "/catalog");
  if (rows.empty() || rows == "x\n") return;
  const int fd = open_or_fail(root + "/catalog", O_WRONLY | O_TRUNC);
  sync_fd(fd, "catalog");
  close(fd);
}

void recover(const std::string& root) {
  repair_catalog(root);
  const std::string state = read_text(root + "/journal/op");
  if (state == kExchanging) go_back(root);
  remove_tree(root + "/journal/op.tmp");
  remove_tree(root + "/published/x.tmp");
  if (state.empty() && has_bug("forget-resume")) return;
  if (state != kCommitted && has_bug("forget-resume")) {
    for (const char* volume : kVolumes) remove_tree(root + "/staging/" + volume);
    remove_tree(root + "/journal/op");
    return;
  }
  clean_up(root);
}

void add_row(const std::string& root) {
  const int fd = open_or_fail(root + "/catalog", O_WRONLY);
  write_all(fd, "x\n", 0);
  if (!has_bug("no-row-sync")) sync_fd(fd, "catalog");
  close(fd);
}

void publish(const std::string& root) {
  const std::string name = root + "/published/x";
  if (has_bug("row-early")) add_row(root);
  make_file(name + ".tmp", std::string(5000, 'x'),
            has_bug("no-publish-file-sync") ? Durable::kNo : Durable::kYes);
  if (rename((name + ".tmp").c_str(), name.c_str()) != 0) fail("publish");
  if (!has_bug("no-publish-dir-sync")) sync_directory(root + "/published");
  if (!has_bug("row-early")) add_row(root);
  acknowledge("done");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::string verb = argv[1];
  const std::string root = argv[2];
  if (argc > 3) bug = argv[3];
  if (verb == "init")
    init(root);
  else if (verb == "publish")
    publish(root);
  else if (verb == "restore")
    restore(root);
  else if (verb == "recover")
    recover(root);
  else
    return 2;
  return 0;
}
