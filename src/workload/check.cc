// fsck's part on this floor: catalog, containers and desired states against each other.
#include <set>

#include "workload/containers.h"
#include "workload/service.h"
#include "workload/settle.h"

namespace cairn::workload {
namespace {

using catalog::Desired;
using volume::Finding;

void check_instance(const Core& core,
                    const catalog::Workload& workload,
                    const catalog::Instance& row,
                    std::vector<Finding>& findings) {
  const std::string& name = row.container_name;
  const auto found = find_owned(core, row);
  if (!found.ok()) {
    findings.push_back({"foreign_container", name, found.error().message()});
    return;
  }
  if (!found->has_value()) {
    if (workload.desired == Desired::kRunning) {
      findings.push_back({"missing_container", name, "its row is there, the container is not"});
    }
    return;
  }
  const docker::Container& container = **found;
  if (workload.desired == Desired::kRunning && !is_up(container)) {
    findings.push_back({"not_running", name, "it is to run and does not"});
  }
  if (workload.desired == Desired::kStopped && is_up(container)) {
    findings.push_back({"not_stopped", name, "it is to be stopped and runs"});
  }
  if (container.paused) findings.push_back({"paused", name, "it is paused"});
  if (container.restart_policy == "no") {
    findings.push_back({"policy_left_no", name, "its restart policy is \"no\""});
  }
}

Status check_workload(const Core& core,
                      const catalog::Workload& workload,
                      std::vector<Finding>& findings) {
  TRY_ASSIGN(const bool unfinished, is_unfinished(core, workload));
  if (unfinished) {
    findings.push_back({"unfinished", workload.name, "a deploy or removal was cut off"});
  }
  TRY_ASSIGN(const auto rows, serving_rows(core, workload.id));
  std::set<std::string> known;
  for (const catalog::Instance& row : rows) {
    known.insert(row.container_name);
    check_instance(core, workload, row, findings);
  }
  if (rows.empty() && workload.desired == Desired::kRunning) {
    findings.push_back({"not_running", workload.name, "it is to run and has no container"});
  }
  docker::ContainerFilter filter;
  filter.labels = {std::string(kLabelWorkloadId) + "=" + workload.id,
                   std::string(kLabelRole) + "=" +
                       std::string(catalog::name_of(catalog::InstanceRole::kInstance))};
  TRY_ASSIGN(const auto containers, core.engine.list_containers(filter));
  for (const docker::ContainerSummary& container : containers) {
    if (known.contains(container.name)) continue;
    findings.push_back({"unknown_container", container.name,
                        "it has the labels of " + workload.name + " and no row"});
  }
  return {};
}

}  // namespace

Result<std::vector<Finding>> Workloads::check() {
  TRY_ASSIGN(const auto workloads, parts_.catalog.workloads().list());
  std::vector<Finding> findings;
  for (const catalog::Workload& workload : workloads) {
    // What an operation works on is between two states.
    if (!parts_.locks.holder("workload:" + workload.id).empty()) continue;
    TRY(check_workload(parts_, workload, findings));
  }
  return findings;
}

}  // namespace cairn::workload
