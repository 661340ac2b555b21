// LocalBackend: a repository in a directory of this machine, laid out as restic's local backend.
#pragma once

#include <memory>
#include <string>

#include "repository/backend/backend.h"

namespace cairn::repository {

// Opens an existing directory. kNotFound.
Result<std::unique_ptr<Backend>> open_local(const std::string& path);
// Makes the directory and its parts unless they are there, durably.
Result<std::unique_ptr<Backend>> make_local(const std::string& path);

}  // namespace cairn::repository
