// fsck's part on this floor: catalog, containers and desired states against each other.
#include <fmt/format.h>

#include "workload/containers.h"
#include "workload/service.h"
#include "workload/settle.h"

namespace cairn::workload {
namespace {

using catalog::Desired;
using catalog::Finding;

void check_container(const catalog::Workload& workload,
                     const docker::Container& container,
                     std::vector<Finding>& findings) {
  const auto add = [&](const char* code, std::string detail) {
    findings.push_back({code, container.name, std::move(detail)});
  };
  const bool wanted = workload.desired == Desired::kRunning;
  if (wanted && !is_up(container)) {
    add("not_running", fmt::format("{} is to run, and it does not", workload.name));
  }
  if (!wanted && is_up(container)) {
    add("running_container", fmt::format("{} is to be stopped, and it runs", workload.name));
  }
  if (container.paused) add("paused_container", "is paused");
  if (container.restart_policy == "no") add("restart_policy_left", "has restart policy \"no\"");
}

Status check_workload(const Core& core,
                      const catalog::Workload& workload,
                      std::vector<Finding>& findings) {
  const auto add = [&findings](const char* code, std::string subject, std::string detail) {
    findings.push_back({code, std::move(subject), std::move(detail)});
  };
  const std::string holder = core.locks.holder("workload:" + workload.id);
  if (!holder.empty() && holder != parallel::kRecovering) return {};  // it is between two states
  TRY_ASSIGN(const bool unfinished, is_unfinished(core, workload));
  if (unfinished) {
    add("unfinished_deploy", workload.name,
        holder.empty() ? "a deploy or removal was cut off"
                       : "a deploy or removal was cut off, and its recovery waits");
  }
  if (unfinished || !holder.empty()) return {};  // so are its containers
  TRY_ASSIGN(const auto rows, serving_rows(core, workload.id));
  for (const catalog::Instance& row : rows) {
    const auto found = find_owned(core, row);
    if (found.ok() && found->has_value()) {
      check_container(workload, **found, findings);
    } else if (found.ok()) {
      add("missing_container", row.container_name, "has a row and is not in the engine");
    } else if (found.error().code() == Code::kConflict) {
      add("foreign_container", row.container_name, found.error().message());
    } else {
      return found.error();
    }
  }
  if (rows.empty() && workload.desired == Desired::kRunning) {
    add("not_running", workload.name, "is to run and has no container");
  }
  return {};
}

Status check_labels(const Core& core, std::vector<Finding>& findings) {
  docker::ContainerFilter filter;
  filter.labels = {std::string(kLabelWorkloadId)};
  TRY_ASSIGN(const auto containers, core.engine.list_containers(filter));
  for (const docker::ContainerSummary& container : containers) {
    const auto label = container.labels.find(std::string(kLabelWorkloadId));
    const bool held =
        label != container.labels.end() && !core.locks.holder("workload:" + label->second).empty();
    if (held) continue;
    TRY_ASSIGN(const auto row, core.catalog.instances().find(container.name));
    if (!row.has_value()) {
      findings.push_back({"unknown_container", container.name, "has Cairn's label and no row"});
    }
  }
  return {};
}

}  // namespace

Result<std::vector<Finding>> Workloads::check() {
  TRY_ASSIGN(const auto workloads, parts_.catalog.workloads().list());
  std::vector<Finding> findings;
  for (const catalog::Workload& workload : workloads) {
    TRY(check_workload(parts_, workload, findings));
  }
  TRY(check_labels(parts_, findings));
  return findings;
}

}  // namespace cairn::workload
