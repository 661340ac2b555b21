// The document against the table: neither may have what the other lacks.
#include "api/openapi.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "api/routes.h"
#include "base/strings.h"

namespace cairn::api {
namespace {

using nlohmann::json;

std::set<std::string> references(const json& value) {
  std::set<std::string> found;
  if (value.is_object() && value.contains("$ref")) {
    const auto text = value.at("$ref").get<std::string>();
    found.insert(text.substr(text.rfind('/') + 1));
  }
  if (value.is_structured()) {
    for (const json& child : value) found.merge(references(child));
  }
  return found;
}

json document() {
  return json::parse(openapi_document("1.2.3"), nullptr, false);
}

TEST(OpenApi, HasEveryRouteAndNoOther) {
  const json doc = document();
  ASSERT_TRUE(doc.is_object());
  EXPECT_EQ(doc.at("openapi"), "3.1.0");
  std::set<std::string> described;
  for (const auto& [path, methods] : doc.at("paths").items()) {
    for (const auto& [method, operation] : methods.items()) described.insert(method + " " + path);
  }
  std::set<std::string> served;
  for (const Route& route : all_routes()) {
    std::string method(method_name(route.method));
    for (char& c : method) c = static_cast<char>(c - 'A' + 'a');
    served.insert(method + " " + std::string(route.pattern));
  }
  EXPECT_EQ(described, served);
  EXPECT_EQ(served.size(), all_routes().size()) << "a route is there twice";
}

TEST(OpenApi, DefinesEverySchemaThatIsNamedAndNamesEveryOneThatIsDefined) {
  const json doc = document();
  ASSERT_TRUE(doc.at("components").at("schemas").is_object()) << "schemas.cc is not JSON";
  std::set<std::string> defined;
  for (const auto& [name, schema] : doc.at("components").at("schemas").items()) {
    defined.insert(name);
  }
  EXPECT_EQ(references(doc), defined);
}

TEST(OpenApi, DescribesPathParametersAndConfirmations) {
  const json doc = document();
  for (const Route& route : all_routes()) {
    std::string method(method_name(route.method));
    for (char& c : method) c = static_cast<char>(c - 'A' + 'a');
    const json& operation = doc.at("paths").at(std::string(route.pattern)).at(method);
    std::set<std::string> named;
    if (operation.contains("parameters")) {
      for (const json& parameter : operation.at("parameters")) {
        named.insert(parameter.at("name").get<std::string>());
      }
    }
    for (const std::string& part : split(route.pattern, '/')) {
      if (part.size() > 2 && part.front() == '{') {
        EXPECT_EQ(named.count(part.substr(1, part.size() - 2)), 1U) << route.pattern;
      }
    }
    if (!route.confirm.header.empty()) {
      EXPECT_EQ(named.count(std::string(route.confirm.header)), 1U) << route.pattern;
      const std::string param = "{" + std::string(route.confirm.param) + "}";
      EXPECT_NE(route.pattern.find(param), std::string_view::npos) << route.pattern;
    }
  }
}

TEST(Routes, ActionsAreUniqueAndOnlyHarmlessOnesAreOpen) {
  std::set<std::string_view> actions;
  for (const Route& route : all_routes()) {
    EXPECT_TRUE(actions.insert(route.action).second) << route.action;
    if (route.right == Right::kAnyone) {
      EXPECT_EQ(route.method, Method::kGet) << route.pattern;
    }
  }
  const std::set<std::string> open = [] {
    std::set<std::string> paths;
    for (const Route& route : all_routes()) {
      if (route.right == Right::kAnyone) paths.emplace(route.pattern);
    }
    return paths;
  }();
  EXPECT_EQ(open, (std::set<std::string>{"/api/openapi.json", "/healthz", "/readyz"}));
}

// What scripts rely on, written down once more on purpose.
TEST(Routes, ThoseOfTheContractAreThere) {
  const std::set<std::pair<Method, std::string>> wanted = {
      {Method::kGet, "/api/workloads"},
      {Method::kPost, "/api/workloads"},
      {Method::kGet, "/api/workloads/{id}"},
      {Method::kDelete, "/api/workloads/{id}"},
      {Method::kPost, "/api/workloads/{id}/deploy"},
      {Method::kPost, "/api/workloads/{id}/stop"},
      {Method::kPost, "/api/workloads/{id}/start"},
      {Method::kGet, "/api/workloads/{id}/logs"},
      {Method::kGet, "/api/workloads/{id}/snapshots"},
      {Method::kPost, "/api/workloads/{id}/snapshots"},
      {Method::kGet, "/api/workloads/{id}/snapshots/{sid}"},
      {Method::kDelete, "/api/workloads/{id}/snapshots/{sid}"},
      {Method::kPost, "/api/workloads/{id}/snapshots/{sid}/restore"},
      {Method::kPost, "/api/workloads/{id}/snapshots/{sid}/verify"},
      {Method::kGet, "/api/workloads/{id}/snapshots/{sid}/archive"},
      {Method::kPost, "/api/workloads/{id}/snapshots/import"},
      {Method::kPost, "/api/workloads/{id}/snapshots/adopt"},
      {Method::kPost, "/api/undos/{uid}/undo"},
      {Method::kPost, "/api/undos/{uid}/discard"},
      {Method::kGet, "/api/operations/{id}/events"},
      {Method::kPost, "/api/repository/key-export"},
      {Method::kGet, "/api/system/fsck"},
  };
  std::set<std::pair<Method, std::string>> served;
  for (const Route& route : all_routes()) served.emplace(route.method, route.pattern);
  for (const auto& route : wanted) EXPECT_EQ(served.count(route), 1U) << route.second;
}

}  // namespace
}  // namespace cairn::api
