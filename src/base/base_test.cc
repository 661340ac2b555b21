// The pure ground floor: results, hex and base64, ids, times, names.
#include <gtest/gtest.h>

#include <cerrno>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/strings.h"

namespace cairn {
namespace {

Result<int> half(int n) {
  if (n % 2 != 0) return Error(Code::kInvalid, "odd");
  return n / 2;
}

Result<int> quarter(int n) {
  TRY_ASSIGN(const int h, half(n));
  TRY_CONTEXT(half(h), "second half");
  return h / 2;
}

TEST(Result, CarriesTheFirstErrorWithContext) {
  EXPECT_EQ(quarter(8).value(), 2);
  EXPECT_EQ(quarter(3).error().message(), "odd");
  EXPECT_EQ(quarter(6).error().message(), "second half: odd");
  EXPECT_EQ(quarter(6).error().code(), Code::kInvalid);
}

TEST(Result, MapsErrnoToWhatTheCallerCanDo) {
  EXPECT_EQ(os_error("write", ENOSPC).code(), Code::kNoSpace);
  EXPECT_EQ(os_error("open x", ENOENT).message(), "open x: No such file or directory");
  EXPECT_EQ(os_error("open x", ENOENT).os_errno(), ENOENT);
}

TEST(Bytes, HexAndBase64RoundTrip) {
  const std::string text(
      "\x00\x7f\xff"
      "abc",
      6);
  EXPECT_EQ(to_hex(as_bytes(text)), "007fff616263");
  Bytes back(6);
  ASSERT_TRUE(parse_hex("007fff616263", back).ok());
  EXPECT_EQ(as_text(back), text);
  EXPECT_FALSE(parse_hex("007FFF616263", back).ok());
  for (std::size_t n = 0; n <= text.size(); ++n) {
    const auto encoded = to_base64(as_bytes(text).subspan(0, n));
    const auto decoded = parse_base64(encoded);
    ASSERT_TRUE(decoded.ok()) << encoded;
    EXPECT_EQ(as_text(*decoded), text.substr(0, n));
  }
  EXPECT_EQ(to_base64(as_bytes("foob")), "Zm9vYg==");
  EXPECT_FALSE(parse_base64("Zm9vYg=").ok());
  EXPECT_FALSE(parse_base64("Zm=vYg==").ok());
}

TEST(Ids, AreOrderedAndRecognised) {
  const auto a = ids::make(ids::kSnapshot);
  const auto b = ids::make(ids::kSnapshot);
  EXPECT_LT(a, b);
  EXPECT_TRUE(ids::is(ids::kSnapshot, a)) << a;
  EXPECT_FALSE(ids::is(ids::kUndo, a));
  EXPECT_FALSE(ids::is(ids::kSnapshot, a + "0"));
  EXPECT_EQ(ids::short_form(a), a.substr(a.size() - 8));
}

TEST(Clock, WritesAndReadsRfc3339) {
  EXPECT_EQ(to_rfc3339({0, 0}), "1970-01-01T00:00:00Z");
  EXPECT_EQ(to_rfc3339({-1, 500000000}), "1969-12-31T23:59:59.5Z");
  EXPECT_EQ(to_iso_ms(-1), "1969-12-31T23:59:59.999Z");
  for (const Timespec t : {Timespec{0, 1}, Timespec{-2208988800, 120}, Timespec{4102444800, 0}}) {
    const auto back = parse_rfc3339(to_rfc3339(t));
    ASSERT_TRUE(back.ok()) << to_rfc3339(t);
    EXPECT_EQ(*back, t);
  }
  EXPECT_EQ(parse_rfc3339("1970-01-01T02:00:00+02:00")->seconds, 0);
  EXPECT_FALSE(parse_rfc3339("1970-01-01 00:00:00Z").ok());
  EXPECT_FALSE(parse_rfc3339("1970-13-01T00:00:00Z").ok());
}

TEST(Strings, NamesAndNumbersAreParsedStrictly) {
  EXPECT_TRUE(check_name("web-1").ok());
  for (const char* bad : {"", "-a", "Web", "a_b", "a/b"}) EXPECT_FALSE(check_name(bad).ok()) << bad;
  EXPECT_FALSE(check_name(std::string(64, 'a')).ok());
  EXPECT_EQ(parse_uint("18446744073709551615"), 18446744073709551615ULL);
  EXPECT_FALSE(parse_uint("18446744073709551616"));
  EXPECT_FALSE(parse_uint("-1"));
  EXPECT_EQ(parse_duration_s("24h"), 86400);
  EXPECT_EQ(parse_duration_s("10"), 10);
  EXPECT_FALSE(parse_duration_s("h"));
  EXPECT_FALSE(parse_duration_s(""));
}

TEST(Strings, PrintableHidesControlCharactersAndBrokenUtf8) {
  EXPECT_EQ(printable("a\nb\xff"), "a\\x0ab\\xff");
  EXPECT_EQ(printable("\xd0\xb6"), "\xd0\xb6");
  EXPECT_FALSE(is_utf8("\xed\xa0\x80"));
  EXPECT_TRUE(is_utf8("\xf0\x9f\x98\x80"));
  EXPECT_EQ(printable(std::string(300, 'x'), 10), "xxxxxxxxxx...");
}

}  // namespace
}  // namespace cairn
