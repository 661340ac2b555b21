// EngineClient: an Engine behind a Unix socket, spoken to in the Docker Engine API. One connection
// a call; the API version is negotiated at the first call and again after the engine went away.
// Starts no thread, so a small child process can use it too. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "docker/engine.h"

namespace cairn::docker {

class EngineClient final : public Engine {
 public:
  explicit EngineClient(std::string socket_path);
  ~EngineClient() override;

  // "unix:///PATH" or "/PATH" to the path; kInvalid for anything else.
  static Result<std::string> parse_address(std::string_view address);

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
  class Wire;
  std::unique_ptr<Wire> wire_;
};

}  // namespace cairn::docker
