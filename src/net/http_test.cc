// The parsers of a server's bytes: each input is also fed one byte at a time.
#include "net/http.h"

#include <gtest/gtest.h>

namespace cairn::net {
namespace {

Response head_of(std::string_view text) {
  auto head = parse_response_head(text);
  EXPECT_TRUE(head.ok()) << head.error().message();
  EXPECT_TRUE(head.value().has_value());
  return std::move(*head).value().response;
}

struct Body {
  Status status;
  std::string text;
  bool done = false;
};

// Reads a body in pieces of the given size, then the connection ends.
Body read_body(std::string_view head_text, std::string_view bytes, std::size_t piece) {
  auto reader = BodyReader::for_response(head_of(head_text), "GET");
  if (!reader.ok()) return {.status = reader.error(), .text = {}};
  Body body;
  auto keep = [&body](std::string_view part) {
    body.text += part;
    return true;
  };
  while (!bytes.empty() && body.status.ok()) {
    body.status = reader->feed(bytes.substr(0, piece), keep);
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  if (body.status.ok()) body.status = reader->end();
  body.done = reader->done();
  return body;
}

constexpr std::string_view kChunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

TEST(ResponseHead, ReadsStatusAndFields) {
  std::string text =
      "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nX-Empty:\r\nx-pad:  a b \t\r\n\r\n{}";
  auto head = parse_response_head(text);
  ASSERT_TRUE(head.ok());
  ASSERT_TRUE(head->has_value());
  EXPECT_EQ((*head)->size_bytes, text.size() - 2);
  const Response& response = (*head)->response;
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.reason, "Not Found");
  ASSERT_NE(response.find("CONTENT-length"), nullptr);
  EXPECT_EQ(*response.find("content-length"), "2");
  EXPECT_EQ(*response.find("X-Empty"), "");
  EXPECT_EQ(*response.find("X-Pad"), "a b");
  EXPECT_EQ(response.find("absent"), nullptr);
}

TEST(ResponseHead, IsNothingUntilItIsWhole) {
  std::string text = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
  for (std::size_t size = 0; size < text.size(); ++size) {
    auto head = parse_response_head(std::string_view(text).substr(0, size));
    ASSERT_TRUE(head.ok()) << size;
    EXPECT_FALSE(head->has_value()) << size;
  }
}

TEST(ResponseHead, RefusesWhatIsNotHttp) {
  for (std::string_view text :
       {"HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.1 600 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\n\n", "\r\n", "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nname : value\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: value\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n"}) {
    auto head = parse_response_head(text);
    ASSERT_FALSE(head.ok()) << text;
    EXPECT_EQ(head.error().code(), Code::kCorrupt);
  }
  EXPECT_FALSE(
      parse_response_head(std::string_view("HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n", 26)).ok());
}

TEST(ResponseHead, IsBounded) {
  std::string long_line = "HTTP/1.1 200 OK\r\nA: " + std::string(kHeadBytesMax, 'x');
  EXPECT_FALSE(parse_response_head(long_line).ok());
  std::string many = "HTTP/1.1 200 OK\r\n";
  for (std::size_t i = 0; i <= kHeaderCountMax; ++i) many += "A: b\r\n";
  EXPECT_FALSE(parse_response_head(many + "\r\n").ok());
}

TEST(BodyReader, ReadsACountedBody) {
  for (std::size_t piece : {1U, 3U, 100U}) {
    Body body = read_body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "hellobeyond", piece);
    EXPECT_TRUE(body.status.ok());
    EXPECT_EQ(body.text, "hello");
  }
}

TEST(BodyReader, ReadsChunksExtensionsAndTrailers) {
  for (std::size_t piece : {1U, 2U, 7U, 1000U}) {
    Body body = read_body(
        kChunked, "5;a=b\r\nhello\r\n00A\r\n, my world\r\n0\r\nSum: 1\r\nX: y\r\n\r\n", piece);
    EXPECT_TRUE(body.status.ok()) << body.status.error().message();
    EXPECT_EQ(body.text, "hello, my world");
    EXPECT_TRUE(body.done);
  }
}

TEST(BodyReader, ReadsUntilTheConnectionEnds) {
  Body body = read_body("HTTP/1.1 200 OK\r\n\r\n", "all of it", 4);
  EXPECT_TRUE(body.status.ok());
  EXPECT_EQ(body.text, "all of it");
}

TEST(BodyReader, TellsACutOffBody) {
  Body counted = read_body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "hell", 9);
  ASSERT_FALSE(counted.status.ok());
  EXPECT_EQ(counted.status.error().code(), Code::kUnavailable);
  for (std::string_view bytes :
       {"", "5", "5\r\nhell", "5\r\nhello", "5\r\nhello\r\n", "0\r\n", "0\r\nA: b\r\n"}) {
    Body chunked = read_body(kChunked, bytes, 9);
    ASSERT_FALSE(chunked.status.ok()) << bytes;
    EXPECT_EQ(chunked.status.error().code(), Code::kUnavailable) << bytes;
  }
}

TEST(BodyReader, RefusesBrokenChunks) {
  for (std::string bytes : {std::string("g\r\n"), std::string("\r\n"), std::string("-1\r\n"),
                            std::string("0x5\r\nhello\r\n"), std::string("5\nhello\r\n"),
                            std::string("5\r\nhelloX\r\n"), std::string("ffffffffffffffffff\r\n"),
                            "1;" + std::string(kChunkLineBytesMax, 'x'),
                            "0\r\n" + std::string(kHeadBytesMax + 1, 'x')}) {
    for (std::size_t piece : {std::size_t{1}, bytes.size()}) {
      Body body = read_body(kChunked, bytes, piece);
      ASSERT_FALSE(body.status.ok()) << bytes.substr(0, 40);
      EXPECT_EQ(body.status.error().code(), Code::kCorrupt) << bytes.substr(0, 40);
    }
  }
}

TEST(BodyReader, RefusesContradictingLengths) {
  for (std::string_view text :
       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"}) {
    EXPECT_FALSE(BodyReader::for_response(head_of(text), "GET").ok()) << text;
  }
}

TEST(BodyReader, KnowsRepliesWithoutABody) {
  constexpr std::string_view kFields = "Content-Length: 5\r\n\r\n";
  for (std::string status : {"204 No Content", "304 Not Modified"}) {
    auto reader = BodyReader::for_response(
        head_of("HTTP/1.1 " + status + "\r\n" + std::string(kFields)), "POST");
    ASSERT_TRUE(reader.ok());
    EXPECT_TRUE(reader->done());
  }
  auto reader =
      BodyReader::for_response(head_of("HTTP/1.1 200 OK\r\n" + std::string(kFields)), "HEAD");
  ASSERT_TRUE(reader.ok());
  EXPECT_TRUE(reader->done());
}

TEST(BodyReader, StopsWhenTheSinkHasEnough) {
  auto reader = BodyReader::for_response(head_of(kChunked), "GET");
  ASSERT_TRUE(reader.ok());
  int calls = 0;
  ASSERT_TRUE(reader
                  ->feed("1\r\na\r\n1\r\nb\r\n",
                         [&calls](std::string_view) {
                           ++calls;
                           return false;
                         })
                  .ok());
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(reader->stopped());
  EXPECT_FALSE(reader->done());
}

TEST(FormatRequest, WritesAWholeRequest) {
  auto text = format_request({.method = "POST",
                              .target = "/a?b=c",
                              .headers = {{.name = "X", .value = "y"}},
                              .body = "{}"});
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text,
            "POST /a?b=c HTTP/1.1\r\nHost: localhost\r\nX: y\r\nConnection: close\r\n"
            "Content-Length: 2\r\n\r\n{}");
}

TEST(FormatRequest, RefusesWhatCouldSmuggle) {
  auto refuses = [](Request request) { return !format_request(request).ok(); };
  EXPECT_TRUE(refuses({.method = "GET X", .target = "/", .headers = {}, .body = {}}));
  EXPECT_TRUE(refuses({.method = "GET", .target = "/a b", .headers = {}, .body = {}}));
  EXPECT_TRUE(refuses({.method = "GET", .target = "/a\r\nX: y", .headers = {}, .body = {}}));
  EXPECT_TRUE(refuses({.method = "GET", .target = "a", .headers = {}, .body = {}}));
  EXPECT_TRUE(refuses(
      {.method = "GET", .target = "/", .headers = {{.name = "X", .value = "a\r\nb"}}, .body = {}}));
  EXPECT_TRUE(refuses(
      {.method = "GET", .target = "/", .headers = {{.name = "X:", .value = "a"}}, .body = {}}));
}

TEST(UrlEncode, EncodesAllButUnreserved) {
  EXPECT_EQ(url_encode("aZ0-._~"), "aZ0-._~");
  EXPECT_EQ(url_encode("a/b?c=d&e f\n\xff"), "a%2Fb%3Fc%3Dd%26e%20f%0A%FF");
}

}  // namespace
}  // namespace cairn::net
