#include "docker/fake_engine.h"

#include <fmt/format.h>

#include <algorithm>

#include "docker/reference.h"

namespace cairn::docker {

namespace {

constexpr int kKilledExitCode = 137;  // 128 + SIGKILL

std::string image_name(const std::string& repository, const std::string& version) {
  return fmt::format("{}{}{}", repository, is_digest(version) ? "@" : ":", version);
}

bool matches(const Labels& labels, const std::vector<std::string>& wanted) {
  return std::ranges::all_of(wanted, [&labels](const std::string& text) {
    auto equals = text.find('=');
    auto found = labels.find(text.substr(0, equals));
    return found != labels.end() &&
           (equals == std::string::npos || found->second == text.substr(equals + 1));
  });
}

bool mounts_volume(const Container& container, const std::string& name) {
  return std::ranges::any_of(container.mounts, [&name](const ContainerMount& mount) {
    return mount.kind == Mount::Kind::kVolume && mount.name == name;
  });
}

void end(Container& container, int exit_code) {
  container.state = State::kExited;
  container.running = container.paused = container.restarting = false;
  container.exit_code = exit_code;
  container.pid = 0;
  container.health = Health::kNone;
  container.ip_addresses.clear();
  container.ports.clear();
}

}  // namespace

FakeEngine::FakeEngine() = default;

// --- what a test prepares

void FakeEngine::add_image(const Image& image, const std::vector<std::string>& names) {
  std::scoped_lock lock(mutex_);
  images_[image.id] = image;
  for (const std::string& name : names) images_[name] = image;
}

void FakeEngine::add_remote_image(const Image& image,
                                  const std::string& repository,
                                  const std::string& version) {
  std::scoped_lock lock(mutex_);
  remote_images_[image_name(repository, version)] = image;
}

void FakeEngine::require_login(const std::string& registry, const RegistryAuth& auth) {
  std::scoped_lock lock(mutex_);
  logins_[registry] = auth;
}

void FakeEngine::remove_image(const std::string& id) {
  std::scoped_lock lock(mutex_);
  std::erase_if(images_, [&id](const auto& item) { return item.second.id == id; });
}

void FakeEngine::add_volume(const Volume& volume) {
  std::scoped_lock lock(mutex_);
  volumes_[volume.name] = volume;
}

void FakeEngine::set_volume_root(std::string path) {
  std::scoped_lock lock(mutex_);
  volume_root_ = std::move(path);
}

void FakeEngine::fail(const std::string& call, int n, Error error, When when) {
  std::scoped_lock lock(mutex_);
  faults_.push_back({.call = call, .n = n, .error = std::move(error), .when = when});
}

void FakeEngine::set_down(bool down) {
  std::scoped_lock lock(mutex_);
  down_ = down;
}

void FakeEngine::on_start(std::function<void(Container&)> effect) {
  std::scoped_lock lock(mutex_);
  on_start_ = std::move(effect);
}

void FakeEngine::on_exec(
    std::function<ExecResult(const Container&, const std::vector<std::string>&)> answer) {
  std::scoped_lock lock(mutex_);
  on_exec_ = std::move(answer);
}

void FakeEngine::on_find_exec(std::function<Exec(const std::string&)> answer) {
  std::scoped_lock lock(mutex_);
  on_find_exec_ = std::move(answer);
}

void FakeEngine::set_log(std::vector<std::string> lines) {
  std::scoped_lock lock(mutex_);
  log_ = std::move(lines);
}

// --- what a test looks at

std::vector<std::string> FakeEngine::calls() const {
  std::scoped_lock lock(mutex_);
  return calls_;
}

void FakeEngine::clear_calls() {
  std::scoped_lock lock(mutex_);
  calls_.clear();
}

std::optional<ContainerSpec> FakeEngine::spec_of(const std::string& id) const {
  std::scoped_lock lock(mutex_);
  for (const auto& [key, kept] : containers_) {
    if (key == id || kept.container.name == id) return kept.spec;
  }
  return std::nullopt;
}

Status FakeEngine::edit(const std::string& id, const std::function<void(Container&)>& change) {
  std::scoped_lock lock(mutex_);
  Kept* kept = find_kept(id);
  if (kept == nullptr) return Error(Code::kNotFound, "no container " + id);
  change(kept->container);
  changed_.notify_all();
  return {};
}

void FakeEngine::restart_engine() {
  std::scoped_lock lock(mutex_);
  for (auto& [id, kept] : containers_) {
    Container& container = kept.container;
    bool again = container.restart_policy == "always" ||
                 (container.restart_policy == "unless-stopped" && !kept.stopped_by_hand &&
                  container.state != State::kCreated);
    if (container.running) end(container, 0);
    if (again) run_container(kept);
  }
  changed_.notify_all();
}

// --- the frame of every call

Status FakeEngine::run(const std::string& call,
                       const std::string& record,
                       const std::function<Status()>& effect) {
  std::scoped_lock lock(mutex_);
  if (down_) return Error(Code::kUnavailable, "engine: connect: Connection refused");
  std::optional<Fault> fault;
  for (Fault& candidate : faults_) {
    if (candidate.call == call && --candidate.n == 0) fault = candidate;
  }
  std::erase_if(faults_, [](const Fault& past) { return past.n <= 0; });
  if (fault && fault->when == When::kBefore) return fault->error;

  if (!record.empty()) calls_.push_back(record);
  TRY(effect());
  changed_.notify_all();
  if (fault) return fault->error;
  return {};
}

FakeEngine::Kept* FakeEngine::find_kept(const std::string& id) {
  for (auto& [key, kept] : containers_) {
    if (key == id || kept.container.name == id) return &kept;
  }
  return nullptr;
}

Status FakeEngine::with_container(const std::string& call,
                                  const std::string& id,
                                  const std::string& rest,
                                  const std::function<Status(Kept&)>& effect) {
  std::string name = id;
  {
    std::scoped_lock lock(mutex_);
    if (Kept* kept = find_kept(id)) name = kept->container.name;
  }
  return run(call, fmt::format("{} {}{}", call, name, rest), [&]() -> Status {
    Kept* kept = find_kept(id);
    if (kept == nullptr) return Error(Code::kNotFound, "engine: No such container: " + id);
    return effect(*kept);
  });
}

// Called with the lock held.
void FakeEngine::run_container(Kept& kept) {
  Container& container = kept.container;
  container.state = State::kRunning;
  container.running = true;
  container.pid = 1000 + next_id_++;
  container.started_ms = next_id_++;
  container.exit_code = 0;
  bool image_checks = images_.contains(kept.spec.image) && images_[kept.spec.image].has_healthcheck;
  container.health = kept.spec.health_check || image_checks ? Health::kHealthy : Health::kNone;
  if (!kept.spec.network.empty() && kept.spec.network != "none") {
    container.ip_addresses[kept.spec.network] = "127.0.0.1";
  }
  container.ports = kept.spec.publishes;
  kept.stopped_by_hand = false;
  if (on_start_) on_start_(container);
}

// Called with the lock held. A volume that is not there is made, as the engine does.
Volume& FakeEngine::volume(const std::string& name) {
  auto [found, made] = volumes_.try_emplace(name);
  if (made) {
    found->second.name = name;
    found->second.driver = "local";
    found->second.mountpoint = fmt::format("{}/{}/_data", volume_root_, name);
  }
  return found->second;
}

// --- the engine, images, networks

Result<Version> FakeEngine::ping() {
  TRY(run("ping", "", [] { return Status(); }));
  return Version{.api = "1.41", .api_max = "1.41", .api_min = "1.12", .engine = "fake"};
}

Result<Info> FakeEngine::info() {
  Info info;
  TRY(run("info", "", [&] {
    info.docker_root = volume_root_.substr(0, volume_root_.rfind('/'));
    info.storage_driver = "fake";
    return Status();
  }));
  return info;
}

Result<std::optional<Image>> FakeEngine::find_image(const std::string& reference) {
  std::optional<Image> image;
  TRY(run("find_image", "", [&] {
    if (auto found = images_.find(reference); found != images_.end()) image = found->second;
    return Status();
  }));
  return image;
}

Status FakeEngine::pull_image(const std::string& repository,
                              const std::string& version,
                              const std::optional<RegistryAuth>& auth,
                              Progress&,
                              std::stop_token) {
  std::string name = image_name(repository, version);
  return run("pull_image", "pull_image " + name, [&]() -> Status {
    const auto login = logins_.find(repository.substr(0, repository.find('/')));
    if (login != logins_.end() && (!auth || auth->username != login->second.username ||
                                   auth->password != login->second.password)) {
      return Error(Code::kDenied, "engine: unauthorized: authentication required");
    }
    auto found = remote_images_.find(name);
    if (found == remote_images_.end()) {
      return Error(Code::kNotFound, "engine: manifest for " + name + " not found");
    }
    images_[name] = images_[found->second.id] = found->second;
    for (const std::string& digest : found->second.repo_digests) images_[digest] = found->second;
    return {};
  });
}

Result<std::string> FakeEngine::distribution_digest(const std::string& reference,
                                                    const std::optional<RegistryAuth>&) {
  std::string digest;
  TRY(run("distribution_digest", "", [&]() -> Status {
    auto found = remote_images_.find(reference);
    if (found == remote_images_.end() || found->second.repo_digests.empty()) {
      return Error(Code::kNotFound, "engine: manifest unknown: " + reference);
    }
    const std::string& text = found->second.repo_digests.front();
    digest = text.substr(text.find('@') + 1);
    return {};
  }));
  return digest;
}

Result<std::string> FakeEngine::import_empty_image(const std::string& repository,
                                                   const std::string& tag) {
  std::string name = image_name(repository, tag);
  Image image;
  TRY(run("import_empty_image", "import_empty_image " + name, [&] {
    image.id = fmt::format("sha256:{:064x}", next_id_++);
    images_[name] = images_[image.id] = image;
    return Status();
  }));
  return image.id;
}

Status FakeEngine::ensure_network(const std::string& name) {
  return run("ensure_network", "ensure_network " + name, [] { return Status(); });
}

// --- containers

Result<std::string> FakeEngine::create_container(const ContainerSpec& spec) {
  std::string id;
  TRY(run("create_container", "create_container " + spec.name, [&]() -> Status {
    if (find_kept(spec.name) != nullptr) {
      return Error(Code::kConflict, "engine: the name " + spec.name + " is already in use");
    }
    auto image = images_.find(spec.image);
    if (image == images_.end())
      return Error(Code::kNotFound, "engine: No such image: " + spec.image);

    Kept kept;
    kept.spec = spec;
    Container& container = kept.container;
    container.id = id = fmt::format("{:064x}", next_id_++);
    container.name = spec.name;
    container.image_id = image->second.id;
    container.image_ref = spec.image;
    container.labels = spec.labels;
    container.env = spec.env;
    container.restart_policy = spec.restart_policy;
    container.restart_retries_max = spec.restart_retries_max;
    container.stop_timeout_s = spec.stop_timeout_s;
    container.stop_signal = spec.stop_signal;
    for (const Mount& mount : spec.mounts) {
      ContainerMount seen{.kind = mount.kind,
                          .name = {},
                          .source = mount.source,
                          .destination = mount.target,
                          .read_write = !mount.read_only};
      if (mount.kind == Mount::Kind::kVolume) {
        seen.name = mount.source;
        seen.source = volume(mount.source).mountpoint;
      }
      container.mounts.push_back(std::move(seen));
    }
    containers_.emplace(id, std::move(kept));
    return {};
  }));
  return id;
}

Status FakeEngine::start(const std::string& id) {
  return with_container("start", id, "", [this](Kept& kept) -> Status {
    if (kept.container.paused) {
      return Error(Code::kConflict, "engine: cannot start a paused container");
    }
    if (!kept.container.running) run_container(kept);
    return {};
  });
}

Status FakeEngine::stop(const std::string& id, std::optional<int> grace_s) {
  std::string rest = grace_s ? fmt::format(" {}", *grace_s) : "";
  return with_container("stop", id, rest, [](Kept& kept) {
    kept.stopped_by_hand = true;
    if (kept.container.running || kept.container.restarting) end(kept.container, 0);
    return Status();
  });
}

Status FakeEngine::kill(const std::string& id, const std::string& signal) {
  return with_container("kill", id, " " + signal, [](Kept& kept) -> Status {
    if (!kept.container.running) return Error(Code::kConflict, "engine: container is not running");
    kept.stopped_by_hand = true;
    end(kept.container, kKilledExitCode);
    return {};
  });
}

Status FakeEngine::pause(const std::string& id) {
  return with_container("pause", id, "", [](Kept& kept) -> Status {
    Container& container = kept.container;
    if (!container.running) return Error(Code::kConflict, "engine: container is not running");
    if (container.paused) return Error(Code::kConflict, "engine: container is already paused");
    container.paused = true;
    container.state = State::kPaused;
    return {};
  });
}

Status FakeEngine::unpause(const std::string& id) {
  return with_container("unpause", id, "", [](Kept& kept) -> Status {
    Container& container = kept.container;
    if (!container.paused) return Error(Code::kConflict, "engine: container is not paused");
    container.paused = false;
    container.state = State::kRunning;
    return {};
  });
}

Status FakeEngine::remove(const std::string& id, RemoveOptions options) {
  return with_container("remove", id, options.force ? " force" : "", [&](Kept& kept) -> Status {
    if (kept.container.running && !options.force) {
      return Error(Code::kConflict, "engine: You cannot remove a running container");
    }
    containers_.erase(std::string(kept.container.id));
    return {};
  });
}

Status FakeEngine::rename(const std::string& id, const std::string& new_name) {
  return with_container("rename", id, " " + new_name, [&](Kept& kept) -> Status {
    if (find_kept(new_name) != nullptr) {
      return Error(Code::kConflict, "engine: the name " + new_name + " is already in use");
    }
    kept.container.name = new_name;
    return {};
  });
}

Status FakeEngine::set_restart_policy(const std::string& id,
                                      const std::string& policy,
                                      int retries_max) {
  return with_container("set_restart_policy", id, " " + policy, [&](Kept& kept) {
    kept.container.restart_policy = policy;
    kept.container.restart_retries_max = policy == "on-failure" ? retries_max : 0;
    return Status();
  });
}

Result<std::optional<Container>> FakeEngine::find_container(const std::string& id) {
  std::optional<Container> container;
  TRY(run("find_container", "", [&] {
    if (Kept* kept = find_kept(id)) container = kept->container;
    return Status();
  }));
  return container;
}

Result<std::vector<ContainerSummary>> FakeEngine::list_containers(const ContainerFilter& filter) {
  std::vector<ContainerSummary> list;
  TRY(run("list_containers", "", [&] {
    for (const auto& [id, kept] : containers_) {
      const Container& container = kept.container;
      if (!matches(container.labels, filter.labels)) continue;
      if (filter.running_only && !container.running) continue;
      if (!filter.volume.empty() && !mounts_volume(container, filter.volume)) continue;
      list.push_back({.id = id,
                      .name = container.name,
                      .image_id = container.image_id,
                      .image_ref = container.image_ref,
                      .state = container.state,
                      .labels = container.labels,
                      .mounts = container.mounts,
                      .created_ms = 0});
    }
    return Status();
  }));
  return list;
}

Result<int> FakeEngine::wait(const std::string& id, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  int exit_code = 0;
  bool gone = false;
  bool ended = changed_.wait(lock, stop, [&] {
    Kept* kept = find_kept(id);
    gone = kept == nullptr;
    if (!gone) exit_code = kept->container.exit_code;
    return gone || !kept->container.running;
  });
  if (gone) return Error(Code::kNotFound, "engine: No such container: " + id);
  if (!ended) return Error(Code::kCancelled, "cancelled");
  return exit_code;
}

Status FakeEngine::logs(const std::string& id,
                        const LogOptions& options,
                        const LogSink& sink,
                        std::stop_token) {
  std::vector<std::string> lines;
  TRY(run("logs", "", [&]() -> Status {
    if (find_kept(id) == nullptr) {
      return Error(Code::kNotFound, "engine: No such container: " + id);
    }
    lines = log_;
    return {};
  }));
  std::size_t skipped =
      options.tail && *options.tail < lines.size() ? lines.size() - *options.tail : 0;
  for (std::size_t i = skipped; i < lines.size(); ++i) {
    if (!sink(Stream::kOut, lines[i] + "\n")) break;
  }
  return {};
}

Result<ExecResult> FakeEngine::exec(const std::string& id,
                                    const std::vector<std::string>& argv,
                                    const ExecOptions&) {
  ExecResult result;
  std::string rest = argv.empty() ? "" : " " + argv.front();
  TRY(with_container("exec", id, rest, [&](Kept& kept) -> Status {
    if (!kept.container.running || kept.container.paused) {
      return Error(Code::kConflict, "engine: container is not running");
    }
    if (on_exec_) result = on_exec_(kept.container, argv);
    return {};
  }));
  return result;
}

Result<std::optional<Exec>> FakeEngine::find_exec(const std::string& exec_id) {
  std::optional<Exec> exec;
  TRY(run("find_exec", "", [&] {
    const bool known = std::ranges::any_of(containers_, [&](const auto& item) {
      const std::vector<std::string>& ids = item.second.container.exec_ids;
      return std::ranges::find(ids, exec_id) != ids.end();
    });
    if (known && on_find_exec_) exec = on_find_exec_(exec_id);
    return Status();
  }));
  return exec;
}

// --- volumes

Result<std::optional<Volume>> FakeEngine::find_volume(const std::string& name) {
  std::optional<Volume> volume;
  TRY(run("find_volume", "", [&] {
    if (auto found = volumes_.find(name); found != volumes_.end()) volume = found->second;
    return Status();
  }));
  return volume;
}

Result<Volume> FakeEngine::create_volume(const std::string& name, const Labels& labels) {
  Volume made;
  TRY(run("create_volume", "create_volume " + name, [&] {
    bool is_new = !volumes_.contains(name);
    Volume& kept = volume(name);
    if (is_new) kept.labels = labels;
    made = kept;
    return Status();
  }));
  return made;
}

Status FakeEngine::remove_volume(const std::string& name) {
  return run("remove_volume", "remove_volume " + name, [&]() -> Status {
    if (!volumes_.contains(name)) return Error(Code::kNotFound, "engine: no such volume: " + name);
    for (const auto& [id, kept] : containers_) {
      if (mounts_volume(kept.container, name)) {
        return Error(Code::kConflict, "engine: volume is in use by " + id);
      }
    }
    volumes_.erase(name);
    return {};
  });
}

Result<std::vector<Volume>> FakeEngine::list_volumes() {
  std::vector<Volume> list;
  TRY(run("list_volumes", "", [&] {
    for (const auto& [name, volume] : volumes_) list.push_back(volume);
    return Status();
  }));
  return list;
}

}  // namespace cairn::docker
