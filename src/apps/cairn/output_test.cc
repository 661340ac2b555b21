#include "apps/cairn/output.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "apps/cairn/api_client.h"
#include "apps/cairn/progress.h"

namespace cairn::cli {
namespace {

using nlohmann::json;

TEST(HumanBytes, KeepsThreeDigitsOrSo) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1500), "1.5 kB");
  EXPECT_EQ(human_bytes(999'999), "1.0 MB");
  EXPECT_EQ(human_bytes(5'000'000'000), "5.0 GB");
}

TEST(HumanMs, GrowsItsUnits) {
  EXPECT_EQ(human_ms(850), "850 ms");
  EXPECT_EQ(human_ms(1200), "1.2 s");
  EXPECT_EQ(human_ms(12'400), "12 s");
  EXPECT_EQ(human_ms(200'000), "3 min 20 s");
  EXPECT_EQ(human_ms(3'720'000), "1 h 02 min");
}

TEST(Cell, CannotSteerATerminal) {
  const json record = {{"name", "a\x1b[2Jb"}, {"none", nullptr}, {"n", 5}, {"empty", ""}};
  EXPECT_EQ(cell(record, "name").find('\x1b'), std::string::npos);
  EXPECT_EQ(cell(record, "none"), "-");
  EXPECT_EQ(cell(record, "missing"), "-");
  EXPECT_EQ(cell(record, "empty"), "-");
  EXPECT_EQ(cell(record, "n"), "5");
}

TEST(Table, AlignsByCharactersNotBytes) {
  Table table({"NAME", "X"});
  table.row({"h\xc3\xa9", "1"});
  table.row({"longer", "2"});
  EXPECT_EQ(table.text(), "NAME    X\nh\xc3\xa9      1\nlonger  2\n");
}

TEST(ProgressLine, TellsRateAndTimeLeft) {
  ProgressLine progress("restore web", false);
  json operation = {{"phase", "stage"},
                    {"progress",
                     {{"bytes_done", 0U},
                      {"bytes_total", 1'000'000'000U},
                      {"items_done", 0U},
                      {"items_total", 0U}}}};
  EXPECT_EQ(progress.line(operation, 1000), "restore web: stage  0 B of 1.0 GB  0 %");
  operation["progress"]["bytes_done"] = 250'000'000U;
  EXPECT_EQ(progress.line(operation, 2000),
            "restore web: stage  250.0 MB of 1.0 GB  25 %  250.0 MB/s  3.0 s left");
  operation["phase"] = "exchange";
  operation["progress"] = {{"bytes_done", 0U}, {"bytes_total", 0U}};
  EXPECT_EQ(progress.line(operation, 3000), "restore web: exchange");
}

TEST(Problem, KnowsItsCodeAndTellsEverything) {
  const Problem busy(409, R"({"status":409,"code":"busy","detail":"web is held",
      "holder":"op_1","reasons":[{"target":"/data","code":"x","detail":"why"}],
      "probe":"GET / 500","log_tail":["line one"],"data":"old"})");
  EXPECT_EQ(busy.code(), Code::kBusy);
  for (const char* part : {"web is held", "op_1", "/data: why [x]", "GET / 500", "line one"}) {
    EXPECT_NE(busy.text().find(part), std::string::npos) << part;
  }
  EXPECT_EQ(Problem(404, "<html>").code(), Code::kNotFound);
  EXPECT_EQ(Problem(Error(Code::kUnavailable, "down")).code(), Code::kUnavailable);
}

TEST(Problem, TellsEachReasonOnce) {
  const auto text_of = [](const std::string& detail, const std::string& reasons) {
    return Problem(400, R"({"status":400,"detail":")" + detail + R"(","reasons":)" + reasons + "}")
        .text();
  };
  const std::string two = R"([{"target":"/a","code":"x","detail":"one"},
                              {"target":"/b","code":"y","detail":"two"}])";
  EXPECT_EQ(text_of("deploy refused: /a: one; /b: two", two),
            "deploy refused\n  /a: one [x]\n  /b: two [y]");
  EXPECT_EQ(text_of("2 faults: /a one", two), "2 faults\n  /a: one [x]\n  /b: two [y]");
  const std::string own = R"([{"target":"","code":"z","detail":"too long"}])";
  EXPECT_EQ(text_of("too long", own), "too long");
  EXPECT_EQ(text_of("something else", own), "something else\n  too long [z]");
  EXPECT_EQ(text_of("nothing more", "[]"), "nothing more");
  EXPECT_EQ(text_of("not a tag: no tag", R"([{"target":"tag","code":"w","detail":"must be one"}])"),
            "not a tag: no tag\n  tag: must be one [w]");
}

TEST(PathOf, EncodesEachPart) {
  EXPECT_EQ(path_of("/api/workloads", {"a/b", ".."}), "/api/workloads/a%2Fb/..");
}

}  // namespace
}  // namespace cairn::cli
