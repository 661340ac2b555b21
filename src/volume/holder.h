// holder: a created, never started container of an empty image that refers to the engine's volumes
// beside which staged or undo trees lie, so that the engine's `volume prune` keeps them. Its name
// tells the undo; its row is written before it is made and goes after it (docs/ordering.md).
#pragma once

#include <string>
#include <vector>

#include "volume/core.h"
#include "volume/exchange.h"

namespace cairn::volume {

// The container's name: "cairn-holder-<undo id>".
std::string holder_name(const std::string& undo_id);
// The undo that a holder's name tells; empty where it is no holder's.
std::string undo_of_holder(const std::string& container_name);

// The engine's volumes among the pairs, sorted, each once.
std::vector<std::string> held_volumes(const std::vector<TreePair>& pairs);

// Makes the holder of these pairs' volumes; nothing where there are none, and nothing anew where it
// is there. A failure may leave the row and the container: remove_holder removes both.
Status make_holder(Core& core,
                   const std::string& workload_id,
                   const std::string& undo_id,
                   const std::vector<TreePair>& pairs);
// What a start makes of an undo's holder: there again where a prune removed it from an undo that is
// available, gone where the undo was undone.
Status settle_holder(Core& core, const catalog::UndoRow& undo);
// Removes the holder of an undo; one that is gone is fine. Asks the engine only where a row says
// that there is one.
Status remove_holder(Core& core, const std::string& undo_id);

}  // namespace cairn::volume
