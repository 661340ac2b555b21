// Engine: the container engine as Cairn uses it. Implemented by EngineClient (docker/client.h, over
// the Docker Engine API) and by FakeEngine (docker/fake_engine.h, in memory, for tests).
//
// Errors: kUnavailable the engine does not answer; kNotFound; kConflict; kInvalid; kInternal for
// its other failures; kCancelled. The message has the engine's own words. A failed call may have
// had its effect: look again before acting on it. Containers are named by id or name. Thread-safe.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "docker/types.h"

namespace cairn::docker {

struct RemoveOptions {
  bool force = false;              // kills it first
  bool anonymous_volumes = false;  // removes its unnamed volumes too
};

// A piece of output; false: that is enough.
using LogSink = std::function<bool(Stream stream, std::string_view bytes)>;

class Engine {
 public:
  virtual ~Engine() = default;

  virtual Result<Version> ping() = 0;
  virtual Result<Info> info() = 0;

  // reference: an id, repository:tag or repository@digest that is there locally.
  virtual Result<std::optional<Image>> find_image(const std::string& reference) = 0;
  // repository without tag; version: a tag or "sha256:..." and never empty (an empty one would pull
  // every tag): kInvalid. Returns after the whole image is there.
  virtual Status pull_image(const std::string& repository,
                            const std::string& version,
                            const std::optional<RegistryAuth>& auth,
                            Progress& progress,
                            std::stop_token stop) = 0;
  // The digest that the registry gives for a full reference (repository:tag), without pulling.
  virtual Result<std::string> distribution_digest(const std::string& reference,
                                                  const std::optional<RegistryAuth>& auth) = 0;
  // Makes an image without any file, for containers that never start; its id.
  virtual Result<std::string> import_empty_image(const std::string& repository,
                                                 const std::string& tag) = 0;

  // Makes the bridge network unless it is there.
  virtual Status ensure_network(const std::string& name) = 0;

  // The new container's id. A taken name is kConflict; an image that is not there kNotFound.
  virtual Result<std::string> create_container(const ContainerSpec& spec) = 0;
  // Starting what runs and stopping what does not are fine. Whether a failed start will fail for
  // ever: can_never_start().
  virtual Status start(const std::string& id) = 0;
  // Stop signal, grace_s seconds (nothing: the container's own), SIGKILL; returns when it stopped.
  virtual Status stop(const std::string& id, std::optional<int> grace_s) = 0;
  // signal: "SIGTERM", ... A container that does not run is kConflict.
  virtual Status kill(const std::string& id, const std::string& signal) = 0;
  // kConflict where it is paused already / does not run / is not paused. Whether a failed pause may
  // succeed a moment later: cannot_freeze_yet().
  virtual Status pause(const std::string& id) = 0;
  virtual Status unpause(const std::string& id) = 0;
  virtual Status remove(const std::string& id, RemoveOptions options) = 0;
  virtual Status rename(const std::string& id, const std::string& new_name) = 0;
  // policy: "no", "on-failure", "unless-stopped"; retries_max counts for "on-failure" only.
  virtual Status set_restart_policy(const std::string& id,
                                    const std::string& policy,
                                    int retries_max) = 0;
  virtual Result<std::optional<Container>> find_container(const std::string& id) = 0;
  // Stopped ones too, unless the filter says otherwise.
  virtual Result<std::vector<ContainerSummary>> list_containers(const ContainerFilter& filter) = 0;
  // Waits until it does not run; its exit code.
  virtual Result<int> wait(const std::string& id, std::stop_token stop) = 0;
  // Ends at the last line, or with follow when the container stops; kCancelled when asked to stop.
  virtual Status logs(const std::string& id,
                      const LogOptions& options,
                      const LogSink& sink,
                      std::stop_token stop) = 0;
  // Runs a command in a running container. A container that is paused or stopped: kConflict.
  virtual Result<ExecResult> exec(const std::string& id,
                                  const std::vector<std::string>& argv,
                                  const ExecOptions& options) = 0;
  // A command of a container's exec_ids; nothing where the engine has forgotten it.
  virtual Result<std::optional<Exec>> find_exec(const std::string& exec_id) = 0;

  virtual Result<std::optional<Volume>> find_volume(const std::string& name) = 0;
  // Driver "local" without options. A volume that is there is returned as it is.
  virtual Result<Volume> create_volume(const std::string& name, const Labels& labels) = 0;
  // A volume in use is kConflict.
  virtual Status remove_volume(const std::string& name) = 0;
  virtual Result<std::vector<Volume>> list_volumes() = 0;
};

// find_container, with kNotFound where it is not there.
Result<Container> get_container(Engine& engine, const std::string& id);
// The last lines of both streams, without line ends; as many as asked for at most.
Result<std::vector<std::string>> log_tail(Engine& engine,
                                          const std::string& id,
                                          std::uint32_t lines);

// True for a failed start of a container whose task, or the task's directory, an engine left behind
// when it was killed in the middle of starting it: whatever is called, it says that this is there
// already (containerd, runtime/v2/bundle.go), and only another container in its place will run.
bool can_never_start(const Error& error);

// True for a failed pause of a container one of whose processes waits for a disk and cannot be
// frozen before that has answered: runc gives up after a second (control groups version 1) or ten
// (opencontainers/runc, libcontainer/cgroups, fs/freezer.go and fs2/freezer.go).
bool cannot_freeze_yet(const Error& error);

}  // namespace cairn::docker
