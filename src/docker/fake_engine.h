// FakeEngine: an Engine in memory for unit tests of higher floors. Containers have states, restart
// policies and mounts as the real engine's; nothing runs. Every call is recorded, and any call can
// be made to fail. Thread-safe.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "docker/engine.h"

namespace cairn::docker {

class FakeEngine final : public Engine {
 public:
  FakeEngine();

  // --- what a test prepares
  // An image that is there locally, under each of the names ("repo:tag", "repo@digest").
  void add_image(const Image& image, const std::vector<std::string>& names);
  // An image that a pull of repository:version brings.
  void add_remote_image(const Image& image,
                        const std::string& repository,
                        const std::string& version);
  // The registry of that host takes only this login; others take any.
  void require_login(const std::string& registry, const RegistryAuth& auth);
  // Takes the image away from the local ones, under all its names.
  void remove_image(const std::string& id);
  void add_volume(const Volume& volume);
  // A volume's host path; without it volumes lie below "/fake/volumes".
  void set_volume_root(std::string path);
  // The n-th call (1 is the next) of that name fails; before: without its effect, after: with it.
  enum class When { kBefore, kAfter };
  void fail(const std::string& call, int n, Error error, When when = When::kBefore);
  // The engine is down: every call is kUnavailable until it is up again.
  void set_down(bool down);
  // What a container does after its start: the function changes its health, its state, ... Like
  // on_exec's it runs under the fake's lock and must not call the fake.
  void on_start(std::function<void(Container&)> effect);
  // What exec answers; exit code 0 and no output without it.
  void on_exec(std::function<ExecResult(const Container&, const std::vector<std::string>&)> answer);
  // What find_exec answers of a command in a container's exec_ids.
  void on_find_exec(std::function<Exec(const std::string& exec_id)> answer);
  // Lines that logs() tells of every container.
  void set_log(std::vector<std::string> lines);

  // --- what a test looks at
  // "start web", "stop web 10", "set_restart_policy web no", ...: changing calls only, with the
  // container's name, in order.
  [[nodiscard]] std::vector<std::string> calls() const;
  void clear_calls();
  [[nodiscard]] std::optional<ContainerSpec> spec_of(const std::string& id) const;
  // Changes a container as the world would (crash, somebody else's stop).
  Status edit(const std::string& id, const std::function<void(Container&)>& change);
  // The engine's restart: running containers with "always" or "unless-stopped" run again, others
  // have exited; paused ones run.
  void restart_engine();

  // --- Engine
  Result<Version> ping() override;
  Result<Info> info() override;
  Result<std::optional<Image>> find_image(const std::string& reference) override;
  Status pull_image(const std::string& repository,
                    const std::string& version,
                    const std::optional<RegistryAuth>& auth,
                    Progress& progress,
                    std::stop_token stop) override;
  Result<std::string> distribution_digest(const std::string& reference,
                                          const std::optional<RegistryAuth>& auth) override;
  Result<std::string> import_empty_image(const std::string& repository,
                                         const std::string& tag) override;
  Status ensure_network(const std::string& name) override;
  Result<std::string> create_container(const ContainerSpec& spec) override;
  Status start(const std::string& id) override;
  Status stop(const std::string& id, std::optional<int> grace_s) override;
  Status kill(const std::string& id, const std::string& signal) override;
  Status pause(const std::string& id) override;
  Status unpause(const std::string& id) override;
  Status remove(const std::string& id, RemoveOptions options) override;
  Status rename(const std::string& id, const std::string& new_name) override;
  Status set_restart_policy(const std::string& id,
                            const std::string& policy,
                            int retries_max) override;
  Result<std::optional<Container>> find_container(const std::string& id) override;
  Result<std::vector<ContainerSummary>> list_containers(const ContainerFilter& filter) override;
  Result<int> wait(const std::string& id, std::stop_token stop) override;
  Status logs(const std::string& id,
              const LogOptions& options,
              const LogSink& sink,
              std::stop_token stop) override;
  Result<ExecResult> exec(const std::string& id,
                          const std::vector<std::string>& argv,
                          const ExecOptions& options) override;
  Result<std::optional<Exec>> find_exec(const std::string& exec_id) override;
  Result<std::optional<Volume>> find_volume(const std::string& name) override;
  Result<Volume> create_volume(const std::string& name, const Labels& labels) override;
  Status remove_volume(const std::string& name) override;
  Result<std::vector<Volume>> list_volumes() override;

 private:
  struct Kept {
    Container container;
    ContainerSpec spec;
    bool stopped_by_hand = false;
  };
  struct Fault {
    std::string call;
    int n;
    Error error;
    When when;
  };
  // Runs one call under the lock: down, injected failures, the record, the effect.
  Status run(const std::string& call,
             const std::string& record,
             const std::function<Status()>& effect);
  Kept* find_kept(const std::string& id);
  void run_container(Kept& kept);
  Volume& volume(const std::string& name);
  Status with_container(const std::string& call,
                        const std::string& id,
                        const std::string& rest,
                        const std::function<Status(Kept&)>& effect);

  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable_any changed_;
  bool down_ = false;
  int next_id_ = 1;
  std::string volume_root_ = "/fake/volumes";
  std::map<std::string, Image> images_;  // by name
  std::map<std::string, Image> remote_images_;
  std::map<std::string, RegistryAuth> logins_;  // by registry
  std::map<std::string, Kept> containers_;      // by id
  std::map<std::string, Volume> volumes_;
  std::vector<std::string> calls_;
  std::vector<Fault> faults_;
  std::vector<std::string> log_;
  std::function<void(Container&)> on_start_;
  std::function<ExecResult(const Container&, const std::vector<std::string>&)> on_exec_;
  std::function<Exec(const std::string&)> on_find_exec_;
};

}  // namespace cairn::docker
