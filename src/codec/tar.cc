#include "codec/tar.h"

#include "base/strings.h"

namespace cairn::codec {

namespace {

Error bad_path(std::string_view path, std::string_view why) {
  return Error(Code::kInvalid, "path '" + printable(path, 120) + "' " + std::string(why));
}

}  // namespace

std::string_view plural_of(TarType type) {
  switch (type) {
    case TarType::kFile:
      return "regular files";
    case TarType::kDirectory:
      return "directories";
    case TarType::kSymlink:
      return "symbolic links";
    case TarType::kHardLink:
      return "hard links";
    case TarType::kFifo:
      return "fifos";
    case TarType::kCharDevice:
      return "character devices";
    case TarType::kBlockDevice:
      return "block devices";
  }
  return "";
}

Result<std::vector<std::string>> split_tar_path(std::string_view path) {
  const std::string_view whole = path;
  if (path.empty()) return bad_path(whole, "is empty");
  if (path.size() > kTarPathBytesMax) return bad_path(whole, "is longer than allowed");
  if (path.find('\0') != std::string_view::npos) return bad_path(whole, "holds a NUL");
  if (path.front() == '/') return bad_path(whole, "is absolute");
  std::vector<std::string> parts;
  if (path == "." || path == "./") return parts;
  if (path.starts_with("./")) path.remove_prefix(2);
  if (path.ends_with('/')) path.remove_suffix(1);
  while (true) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty()) return bad_path(whole, "has an empty component");
    if (part == "." || part == "..") return bad_path(whole, "has a component . or ..");
    if (part.size() > kTarNameBytesMax) return bad_path(whole, "has a name over 255 bytes");
    if (parts.size() == kTarDepthMax) return bad_path(whole, "is deeper than allowed");
    parts.emplace_back(part);
    if (slash == std::string_view::npos) return parts;
    path.remove_prefix(slash + 1);
  }
}

}  // namespace cairn::codec
