// CutEngine: an Engine that goes away at its n-th call, before or after the call's effect, and
// stays away until it is mended. Tests only. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <utility>

#include "docker/engine.h"

namespace cairn::workload {

class CutEngine final : public docker::Engine {
 public:
  explicit CutEngine(docker::Engine& inner) : inner_(inner) {}

  enum class When { kBefore, kAfter };
  // The n-th call from now on (1: the next one) is the last.
  void cut_at(int n, When when) {
    when_ = when;
    left_ = n;
  }
  void mend() {
    left_ = 0;
    away_ = false;
  }
  // What is done at every call, in the caller's thread. Set while nobody calls.
  void on_call(std::function<void()> hook) { on_call_ = std::move(hook); }
  [[nodiscard]] bool is_away() const { return away_; }

  Result<docker::Version> ping() override {
    return pass([&] { return inner_.ping(); });
  }
  Result<docker::Info> info() override {
    return pass([&] { return inner_.info(); });
  }
  Result<std::optional<docker::Image>> find_image(const std::string& reference) override {
    return pass([&] { return inner_.find_image(reference); });
  }
  Status pull_image(const std::string& repository,
                    const std::string& version,
                    const std::optional<docker::RegistryAuth>& auth,
                    Progress& progress,
                    std::stop_token stop) override {
    return pass([&] { return inner_.pull_image(repository, version, auth, progress, stop); });
  }
  Result<std::string> distribution_digest(
      const std::string& reference, const std::optional<docker::RegistryAuth>& auth) override {
    return pass([&] { return inner_.distribution_digest(reference, auth); });
  }
  Result<std::string> import_empty_image(const std::string& repository,
                                         const std::string& tag) override {
    return pass([&] { return inner_.import_empty_image(repository, tag); });
  }
  Status ensure_network(const std::string& name) override {
    return pass([&] { return inner_.ensure_network(name); });
  }
  Result<std::string> create_container(const docker::ContainerSpec& spec) override {
    return pass([&] { return inner_.create_container(spec); });
  }
  Status start(const std::string& id) override {
    return pass([&] { return inner_.start(id); });
  }
  Status stop(const std::string& id, std::optional<int> grace_s) override {
    return pass([&] { return inner_.stop(id, grace_s); });
  }
  Status kill(const std::string& id, const std::string& signal) override {
    return pass([&] { return inner_.kill(id, signal); });
  }
  Status pause(const std::string& id) override {
    return pass([&] { return inner_.pause(id); });
  }
  Status unpause(const std::string& id) override {
    return pass([&] { return inner_.unpause(id); });
  }
  Status remove(const std::string& id, docker::RemoveOptions options) override {
    return pass([&] { return inner_.remove(id, options); });
  }
  Status rename(const std::string& id, const std::string& new_name) override {
    return pass([&] { return inner_.rename(id, new_name); });
  }
  Status set_restart_policy(const std::string& id,
                            const std::string& policy,
                            int retries_max) override {
    return pass([&] { return inner_.set_restart_policy(id, policy, retries_max); });
  }
  Result<std::optional<docker::Container>> find_container(const std::string& id) override {
    return pass([&] { return inner_.find_container(id); });
  }
  Result<std::vector<docker::ContainerSummary>> list_containers(
      const docker::ContainerFilter& filter) override {
    return pass([&] { return inner_.list_containers(filter); });
  }
  Result<int> wait(const std::string& id, std::stop_token stop) override {
    return pass([&] { return inner_.wait(id, stop); });
  }
  Status logs(const std::string& id,
              const docker::LogOptions& options,
              const docker::LogSink& sink,
              std::stop_token stop) override {
    return pass([&] { return inner_.logs(id, options, sink, stop); });
  }
  Result<docker::ExecResult> exec(const std::string& id,
                                  const std::vector<std::string>& argv,
                                  const docker::ExecOptions& options) override {
    return pass([&] { return inner_.exec(id, argv, options); });
  }
  Result<std::optional<docker::Exec>> find_exec(const std::string& exec_id) override {
    return pass([&] { return inner_.find_exec(exec_id); });
  }
  Result<std::optional<docker::Volume>> find_volume(const std::string& name) override {
    return pass([&] { return inner_.find_volume(name); });
  }
  Result<docker::Volume> create_volume(const std::string& name,
                                       const docker::Labels& labels) override {
    return pass([&] { return inner_.create_volume(name, labels); });
  }
  Status remove_volume(const std::string& name) override {
    return pass([&] { return inner_.remove_volume(name); });
  }
  Result<std::vector<docker::Volume>> list_volumes() override {
    return pass([&] { return inner_.list_volumes(); });
  }

 private:
  template <typename Call>
  auto pass(const Call& call) -> decltype(call()) {
    if (on_call_) on_call_();
    const Error gone(Code::kUnavailable, "engine: connect: Connection refused");
    if (away_) return gone;
    if (left_ > 0 && --left_ == 0) {
      away_ = true;
      if (when_ == When::kAfter) static_cast<void>(call());
      return gone;
    }
    return call();
  }

  docker::Engine& inner_;
  std::function<void()> on_call_;
  std::atomic<int> left_{0};
  std::atomic<bool> away_{false};
  std::atomic<When> when_{When::kBefore};
};

}  // namespace cairn::workload
