#include "volume/holder.h"

#include <set>

#include "base/log.h"

namespace cairn::volume {

namespace {

constexpr std::string_view kNamePrefix = "cairn-holder-";
constexpr const char* kImageRepository = "cairn/holder";
constexpr const char* kImageTag = "1";

std::string holder_role() {
  return std::string(catalog::name_of(catalog::InstanceRole::kHolder));
}

docker::ContainerSpec spec_of(const std::string& name,
                              const std::string& workload_id,
                              const std::string& image,
                              const std::vector<std::string>& volumes) {
  docker::ContainerSpec spec;
  spec.name = name;
  spec.image = image;
  spec.command = {"never-started"};
  spec.network = "none";
  spec.labels = {
      {"cairn.workload.id", workload_id}, {"cairn.role", holder_role()}, {"cairn.instance", name}};
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    spec.mounts.push_back({.kind = docker::Mount::Kind::kVolume,
                           .source = volumes[i],
                           .target = "/held/" + std::to_string(i),
                           .read_only = true,
                           .no_copy = true});
  }
  return spec;
}

bool is_ours(const docker::Container& container, const catalog::Instance& row) {
  const auto role = container.labels.find("cairn.role");
  const auto owner = container.labels.find("cairn.workload.id");
  return role != container.labels.end() && role->second == holder_role() &&
         owner != container.labels.end() && owner->second == row.workload_id;
}

}  // namespace

std::string holder_name(const std::string& undo_id) {
  return std::string(kNamePrefix) + undo_id;
}

std::string undo_of_holder(const std::string& container_name) {
  return container_name.starts_with(kNamePrefix) ? container_name.substr(kNamePrefix.size()) : "";
}

std::vector<std::string> held_volumes(const std::vector<TreePair>& pairs) {
  std::set<std::string> names;
  for (const TreePair& pair : pairs) {
    if (!pair.volume.name.empty()) names.insert(pair.volume.name);
  }
  return {names.begin(), names.end()};
}

Status make_holder(Core& core,
                   const std::string& workload_id,
                   const std::string& undo_id,
                   const std::vector<TreePair>& pairs) {
  const std::vector<std::string> volumes = held_volumes(pairs);
  if (volumes.empty()) return {};
  const std::string name = holder_name(undo_id);
  catalog::Instance row;
  row.container_name = name;
  row.workload_id = workload_id;
  row.role = catalog::InstanceRole::kHolder;
  const Status inserted = core.catalog.instances().insert(row);
  if (!inserted.ok() && inserted.error().code() != Code::kExists) return inserted;

  TRY_ASSIGN(const auto there, core.engine.find_container(name));
  if (there.has_value() && !is_ours(*there, row)) {
    return Error(Code::kConflict, "container " + name + " is not Cairn's by its labels");
  }
  if (there.has_value()) {
    row.container_id = there->id;
  } else {
    const std::string reference = std::string(kImageRepository) + ":" + kImageTag;
    TRY_ASSIGN(const auto image, core.engine.find_image(reference));
    std::string image_id = image.has_value() ? image->id : "";
    if (image_id.empty()) {
      TRY_ASSIGN(image_id, core.engine.import_empty_image(kImageRepository, kImageTag));
    }
    TRY_ASSIGN(row.container_id,
               core.engine.create_container(spec_of(name, workload_id, image_id, volumes)));
  }
  row.state = catalog::InstanceState::kRunning;
  return core.catalog.instances().update(row);
}

Status remove_holder(Core& core, const std::string& undo_id) {
  const std::string name = holder_name(undo_id);
  TRY_ASSIGN(const std::optional<catalog::Instance> row, core.catalog.instances().find(name));
  if (!row.has_value()) return {};
  TRY_ASSIGN(const auto there, core.engine.find_container(name));
  if (there.has_value() && is_ours(*there, *row)) {
    const Status removed = core.engine.remove(there->id, {.force = true});
    if (!removed.ok() && removed.error().code() != Code::kNotFound) {
      return removed.error().with_context("remove " + name);
    }
  } else if (there.has_value()) {
    log::warn("container {} is not Cairn's by its labels: it is left alone", name);
  }
  return core.catalog.instances().remove(name);
}

Status settle_holder(Core& core, const catalog::UndoRow& undo) {
  if (undo.state == catalog::UndoState::kUndone) return remove_holder(core, undo.id);
  if (undo.state != catalog::UndoState::kAvailable) return {};
  TRY_ASSIGN(const std::vector<TreePair> pairs, pairs_of(undo));
  return make_holder(core, undo.workload_id, undo.id, pairs);
}

}  // namespace cairn::volume
