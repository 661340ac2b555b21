// settle: what brings a workload back to its old or forward to its new state, whatever was cut off.
// One path serves a deploy that failed, the daemon's start and the retries after an engine outage,
// so that recovery is exercised every day. It decides by catalog rows alone:
//
//   desired removed               the removal goes on: containers, rows, then the workload
//   a release "deploying"         it never got healthy: its containers go, it becomes "failed"
//   an instance "creating"        nobody counts on it: it goes
//   an instance "retiring"        its successor serves: it goes
//   desired running / stopped     the remaining containers are started / stopped, policies last
//
// The caller holds the workload's lock. Each step can be repeated. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "workload/core.h"

namespace cairn::workload {

struct Settled {
  bool removed = false;               // the workload does not exist any more
  std::vector<std::string> done;      // sentences: what was done
  std::vector<std::string> problems;  // sentences: what could not be done and needs a person
};

// The rows of containers that serve or served, oldest first; holders are the volumes' own.
Result<std::vector<catalog::Instance>> serving_rows(const Core& core,
                                                    const std::string& workload_id);

// True where an operation was cut off: read from the catalog alone.
Result<bool> is_unfinished(const Core& core, const catalog::Workload& row);

// Finishes or takes back what was cut off. kUnavailable: the engine is away, call again.
Result<Settled> finish_unfinished(const Core& core, const std::string& workload_id);

// Starts or stops what is asked for, makes a container of the current release where none is left,
// puts restart policies back. A container that the engine cannot start is a problem, not an error.
Result<Settled> reconcile(const Core& core,
                          const std::string& workload_id,
                          catalog::Desired desired);

// Both, in this order, as the workload's stored desired state asks for.
Result<Settled> settle(const Core& core, const std::string& workload_id);

// Removes the container of a row that the engine can never start again, and makes another one in
// its place. Its unnamed volumes stay. What a crash leaves in between is a row without a container.
Result<catalog::Instance> remake(const Core& core,
                                 const catalog::Workload& workload,
                                 const catalog::Instance& row);

// A new container of the release, in place of a row whose container is gone (or of none). Its row
// takes the gone one's place once the container is there; it is not started yet.
Result<catalog::Instance> recreate(const Core& core,
                                   const catalog::Workload& workload,
                                   const catalog::Release& release,
                                   const catalog::Instance* gone);

}  // namespace cairn::workload
