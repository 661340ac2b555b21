#include "codec/json_scan.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/strings.h"

namespace cairn::codec {

namespace {

using nlohmann::json;

// json::parse with a callback would tell the same, but at the end of each record looks again at all
// that its list holds: one of 80,000 records took 4 s.
class Scanner final : public nlohmann::json_sax<json> {
 public:
  bool null() override { return true; }
  bool boolean(bool /*value*/) override { return true; }
  bool number_integer(number_integer_t /*value*/) override { return true; }
  bool number_unsigned(number_unsigned_t /*value*/) override { return true; }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return true; }
  bool string(string_t& /*value*/) override { return true; }
  bool binary(binary_t& /*value*/) override { return true; }
  bool start_array(std::size_t /*elements*/) override { return open(); }
  bool start_object(std::size_t /*elements*/) override { return open(); }
  bool end_array() override { return close(); }
  bool end_object() override { return close(); }
  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    found.twice = name;
    return false;
  }
  bool parse_error(std::size_t /*position*/,
                   const std::string& /*token*/,
                   const json::exception& /*error*/) override {
    return false;
  }

  JsonScan found;

 private:
  bool open() {
    keys_.emplace_back();
    found.too_deep = keys_.size() > kJsonDepthMax;
    return !found.too_deep;
  }
  bool close() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::set<std::string>> keys_;  // of what is not closed yet; a list has none
};

}  // namespace

std::string JsonScan::fault() const {
  if (too_deep) return fmt::format("nests deeper than {} levels", kJsonDepthMax);
  if (twice) return fmt::format("has the key {} twice in one object", printable(*twice));
  return {};
}

JsonScan scan_json(std::string_view text) {
  Scanner scanner;
  json::sax_parse(text, &scanner);
  return std::move(scanner.found);
}

}  // namespace cairn::codec
