// Tar: what is written is read back the same; what two programs could read in two ways is refused.
#include "codec/tar.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>

#include "codec/gzip.h"
#include "codec/tar_fields.h"
#include "codec/tar_reader.h"
#include "codec/tar_writer.h"
#include "codec/unpacker.h"

namespace cairn::codec {
namespace {

struct Kept final : TarSink {
  std::vector<TarEntry> entries;
  std::vector<std::string> contents;
  Status entry(const TarEntry& entry) override {
    entries.push_back(entry);
    contents.emplace_back(entry.size_bytes > 1U << 26U ? 0 : entry.size_bytes, '\0');
    return {};
  }
  Status data(std::uint64_t offset, ByteView bytes) override {
    contents.back().replace(offset, bytes.size(), as_text(bytes));
    return {};
  }
};

Status read(std::string_view archive,
            TarSink& sink,
            std::size_t piece = 7919,
            TarLimits limits = {}) {
  TarReader reader(sink, limits);
  for (std::size_t at = 0; at < archive.size(); at += piece) {
    TRY(reader.feed(as_bytes(archive.substr(at, piece))));
  }
  return reader.finish();
}

TarEntry file(std::string path, std::string_view content = "") {
  TarEntry entry;
  entry.path = std::move(path);
  entry.mode = 0644;
  entry.size_bytes = content.size();
  return entry;
}

std::string with_content(const TarEntry& entry, std::string_view content) {
  return encode_tar_header(entry).value() + std::string(content) + tar_padding(content.size());
}

std::string archive_of(const std::string& members) {
  return members + tar_end();
}

// A ustar header by hand, whatever it says.
std::string raw(char type,
                std::string_view name,
                std::uint64_t size,
                const std::function<void(std::string&)>& change = {}) {
  TarEntry entry = file("x");
  std::string block = encode_tar_header(entry).value();
  block.replace(0, 1, std::string(1, '\0'));
  block.replace(0, name.size(), name);
  block[kTarTypeAt] = type;
  block.replace(kTarSize.at, 11, fmt::format("{:011o}", size));
  if (change) change(block);
  unsigned sum = 8 * ' ';
  for (std::size_t i = 0; i < block.size(); ++i) {
    if (i < kTarChecksum.at || i >= kTarChecksum.at + kTarChecksum.bytes) {
      sum += static_cast<unsigned char>(block[i]);
    }
  }
  return block.replace(kTarChecksum.at, 7, fmt::format("{:06o}", sum) + '\0');
}

std::string record(const std::string& key, const std::string& value) {
  std::size_t size = key.size() + value.size() + 3;
  size += std::to_string(size + 2).size();
  return std::to_string(size) + " " + key + "=" + value + "\n";
}

std::string extended(char type, const std::string& records) {
  return raw(type, "ext", records.size()) + records + tar_padding(records.size());
}

std::string refusal(const std::string& archive, TarLimits limits = {}) {
  Kept kept;
  const Status status = read(archive, kept, 4096, limits);
  return status.ok() ? "" : status.error().message();
}

TEST(Tar, ReadsBackWhatItWrote) {
  std::vector<TarEntry> entries;
  TarEntry entry = file("plain", "content");
  entries.push_back(entry);
  entry = file(std::string(200, 'n') + "/" + std::string(255, 'm'));
  entry.uid = 4'000'000'000;
  entry.gid = 3'000'000'000;
  entry.mode = 06755;
  entry.mtime = {.seconds = -2, .nanoseconds = 250'000'000};
  entry.xattrs = {{"user.a=b%", std::string("\0\xff\n=", 4)}, {"user.b", ""}};
  entries.push_back(entry);
  entry = file("not\xff\xfeutf8\n");
  entry.type = TarType::kSymlink;
  entry.link = std::string(4000, 't');
  entries.push_back(entry);
  entry = file("disk");
  entry.type = TarType::kBlockDevice;
  entry.device_major = 7;
  entry.device_minor = 1'000'000;
  entries.push_back(entry);
  entry = file("dir");
  entry.type = TarType::kDirectory;
  entry.mtime = {.seconds = 9'000'000'000, .nanoseconds = 999'999'999};
  entries.push_back(entry);
  entry = file("dir/again");
  entry.type = TarType::kHardLink;
  entry.link = "plain";
  entries.push_back(entry);
  std::string members;
  for (const TarEntry& one : entries) {
    members += with_content(one, one.path == "plain" ? "content" : "");
  }
  for (const std::size_t piece : {std::size_t{1}, std::size_t{512}, std::size_t{100'000}}) {
    Kept kept;
    const Status status = read(archive_of(members), kept, piece);
    ASSERT_TRUE(status.ok()) << status.error().message();
    EXPECT_EQ(kept.entries, entries);
    EXPECT_EQ(kept.contents[0], "content");
  }
}

TEST(Tar, KeepsHoles) {
  TarEntry entry = file("dir/holes");
  entry.size_bytes = 1'000'000;
  const std::vector<TarExtent> extents{{4096, 3}, {500'000, 5}};
  const std::string member = encode_tar_header(entry, &extents).value() + "abcdefgh" +
                             tar_padding(8) + with_content(file("after", "z"), "z");
  Kept kept;
  const Status status = read(archive_of(member), kept, 100);
  ASSERT_TRUE(status.ok()) << status.error().message();
  EXPECT_EQ(kept.entries[0], entry);
  std::string want(1'000'000, '\0');
  want.replace(4096, 3, "abc").replace(500'000, 5, "defgh");
  EXPECT_EQ(kept.contents[0], want);
  EXPECT_EQ(kept.contents[1], "z");
  const std::vector<TarExtent> none;
  Kept hole;
  ASSERT_TRUE(read(archive_of(encode_tar_header(entry, &none).value()), hole).ok());
  EXPECT_EQ(hole.contents[0], std::string(1'000'000, '\0'));
}

TEST(TarPath, AcceptsOnlyPlacesBeneathTheRoot) {
  EXPECT_EQ(split_tar_path("./a/b/").value(), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(split_tar_path("./").value().empty());
  EXPECT_TRUE(split_tar_path("a\\..\\b").ok()) << "a backslash is a byte like any other";
  for (const std::string path : {"", "/", "/etc/passwd", "..", "../a", "a/..", "a/../../b", "a//b",
                                 "./../a", "a/.", ".//a", "a/./b", "//a", "././a"}) {
    EXPECT_FALSE(split_tar_path(path).ok()) << path;
  }
  EXPECT_FALSE(split_tar_path(std::string("a\0b", 3)).ok());
  EXPECT_FALSE(split_tar_path(std::string(256, 'n')).ok());
  std::string deep = "d";
  for (std::size_t i = 1; i < kTarDepthMax; ++i) deep += "/d";
  EXPECT_TRUE(split_tar_path(deep).ok());
  EXPECT_FALSE(split_tar_path(deep + "/d").ok());
}

TEST(TarAttack, ContradictingSizes) {
  const std::string hidden = raw('0', "hidden", 0);
  const std::string attack = extended('x', record("size", "512")) + raw('0', "outer", 0) + hidden;
  EXPECT_EQ(refusal(archive_of(attack)), "the pax size contradicts the header's");
  EXPECT_EQ(
      refusal(archive_of(extended('x', record("size", "0")) + raw('0', "outer", 512) + hidden)),
      "the pax size contradicts the header's");
  EXPECT_EQ(refusal(archive_of(extended('x', record("size", "512")) + raw('0', "outer", 512) +
                               std::string(512, 'x'))),
            "");
}

TEST(TarAttack, TwoNames) {
  const std::string longname = raw('L', "././@LongLink", 5) + "long" + std::string(508, '\0');
  EXPECT_EQ(
      refusal(archive_of(longname + extended('x', record("path", "pax")) + raw('0', "short", 0))),
      "an entry has a GNU and a pax name");
  EXPECT_EQ(refusal(archive_of(longname + longname + raw('0', "short", 0))),
            "two extended headers of one kind before an entry");
  EXPECT_EQ(refusal(archive_of(longname)), "an extended header without an entry");
}

TEST(TarAttack, MalformedPaxRecords) {
  for (const std::string records : {"5 a=b", "9 a=b\n", "06 a=b\n", "6 =ab\n", "6 abc\n",
                                    "99999999999999999999 a=b\n", "-6 a=b\n", "6 a=b\nx"}) {
    EXPECT_NE(refusal(archive_of(extended('x', records) + raw('0', "f", 0))), "") << records;
  }
  EXPECT_EQ(refusal(archive_of(extended('x', record("mtime", "1") + record("mtime", "2")) +
                               raw('0', "f", 0))),
            "pax record mtime is given twice");
  for (const std::string time : {"", "x", "1.", "1.x", "--1", "99999999999999999999"}) {
    EXPECT_NE(refusal(archive_of(extended('x', record("mtime", time)) + raw('0', "f", 0))), "")
        << time;
  }
}

TEST(TarAttack, GlobalHeaders) {
  EXPECT_EQ(refusal(archive_of(extended('g', record("path", "everything")) + raw('0', "f", 0))),
            "a global header that says more than a comment");
  EXPECT_EQ(refusal(archive_of(extended('g', record("comment", "hi")) + raw('0', "f", 0))), "");
  std::string many;
  for (int i = 0; i < 17; ++i) many += extended('g', record("comment", "hi"));
  EXPECT_EQ(refusal(archive_of(many)), "too many global headers");
}

TEST(TarAttack, Numbers) {
  const auto size = [](std::string_view bytes) {
    return refusal(archive_of(raw('0', "f", 0, [bytes](std::string& block) {
      block.replace(kTarSize.at, bytes.size(), bytes);
    })));
  };
  EXPECT_NE(size(std::string_view("\x80\x7f\0\0\0\0\0\0\0\0\0\0", 12)), "") << "2^86";
  EXPECT_NE(size(std::string_view("\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 12)), "")
      << "2^64-1";
  EXPECT_NE(size(std::string_view("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12)), "")
      << "8 EiB";
  EXPECT_NE(size("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "") << "-1";
  EXPECT_NE(size("00000000009"), "") << "no octal digit";
  EXPECT_NE(size("-0000000001"), "");
  EXPECT_EQ(size(std::string_view("\x80\0\0\0\0\0\0\0\0\0\0\0", 12)), "") << "0 in base 256";
  const auto negative = parse_tar_number("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe");
  EXPECT_EQ(negative.value_or(0), -2) << "GNU tar's time before 1970";
}

TEST(TarAttack, Checksums) {
  std::string block = raw('0', "f", 0);
  block[0] ^= 1;
  EXPECT_EQ(refusal(archive_of(block)), "the checksum of a header is wrong");
  EXPECT_EQ(refusal(archive_of(raw('0', "f", 0, [](std::string& b) { b[kTarMagic.at] = 'U'; }))),
            "a header that is neither ustar nor GNU");
}

TEST(TarAttack, Ends) {
  const std::string member = raw('0', "f", 0);
  EXPECT_EQ(refusal(member), "the archive ends before its end blocks");
  EXPECT_EQ(refusal(member + std::string(512, '\0')), "the archive ends before its end blocks");
  EXPECT_EQ(refusal(member + std::string(512, '\0') + member + tar_end()),
            "a single block of zeros between entries");
  EXPECT_EQ(refusal(archive_of(member) + member), "data after the end of the archive");
  EXPECT_EQ(refusal(archive_of(member) + std::string(9 * 1024, '\0')), "");
  EXPECT_EQ(refusal(archive_of(member) + std::string((1U << 20U) + 1, '\0')),
            "too many bytes after the end");
  EXPECT_EQ(refusal(archive_of(raw('0', "f", 100))), "the archive ends before its end blocks");
}

TEST(TarAttack, TypesAndTheirData) {
  for (const char type : {'7', 'V', 'M', 'D', 'N', 'A', 'Z', ' '}) {
    EXPECT_NE(refusal(archive_of(raw(type, "f", 0))), "") << type;
  }
  for (const char type : {'1', '2', '3', '4', '5', '6'}) {
    const std::string member =
        raw(type, "f", 512, [](std::string& block) { block.replace(kTarLink.at, 1, "t"); });
    EXPECT_NE(refusal(archive_of(member + std::string(512, 'x'))), "") << type;
  }
  EXPECT_NE(refusal(archive_of(raw('0', "f/", 0))), "") << "old tars mean a directory";
  EXPECT_NE(refusal(archive_of(raw('2', "f", 0))), "") << "a link to nothing";
  EXPECT_NE(
      refusal(archive_of(raw(
          '1', "f", 0, [](std::string& block) { block.replace(kTarLink.at, 11, "/etc/passwd"); }))),
      "");
}

TEST(TarAttack, Holes) {
  const auto sparse = [](const std::string& real, const std::string& map) {
    const std::string records = record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") +
                                record("GNU.sparse.name", "f") +
                                record("GNU.sparse.realsize", real);
    const std::string data = map + tar_padding(map.size());
    return refusal(archive_of(extended('x', records) + raw('0', "s", data.size()) + data));
  };
  EXPECT_EQ(sparse("1000", "1\n1000\n0\n"), "");
  EXPECT_NE(sparse("9223372036854775807", "1\n9223372036854775807\n0\n"), "") << "8 EiB";
  EXPECT_NE(sparse("1000", "1\n1001\n0\n"), "");
  EXPECT_NE(sparse("1000", "1\n0\n1000\n"), "") << "data that is not there";
  EXPECT_NE(sparse("1000", "2\n500\n0\n400\n0\n"), "") << "going back";
  EXPECT_NE(sparse("1000", "99999999\n"), "");
  EXPECT_NE(sparse("1000", "x\n"), "");
  EXPECT_NE(sparse("1000", "123456789012345678901"), "");
  EXPECT_NE(
      refusal(archive_of(extended('x', record("GNU.sparse.numblocks", "1")) + raw('0', "s", 0))),
      "");
}

TEST(TarLimits, AreHeld) {
  const std::string two = raw('0', "a", 0) + raw('0', "b", 0);
  EXPECT_EQ(refusal(archive_of(two), {.entries_max = 2}), "");
  EXPECT_EQ(refusal(archive_of(two), {.entries_max = 1}), "more entries than allowed");
  const std::string bytes = raw('0', "a", 512) + std::string(512, 'x');
  EXPECT_EQ(refusal(archive_of(bytes), {.bytes_max = 512}), "");
  EXPECT_EQ(refusal(archive_of(bytes), {.bytes_max = 511}), "more bytes than allowed");
  EXPECT_EQ(refusal(raw('x', "ext", 2'000'000'000)), "an extended header is larger than allowed");
  EXPECT_EQ(refusal(raw('L', "ext", kTarPathBytesMax + 2)),
            "an extended header is larger than allowed");
  EXPECT_EQ(refusal(raw('0', "f", 0,
                        [](std::string& block) {
                          block.replace(kTarSize.at, 12,
                                        std::string_view("\x80\0\0\0\0\0\1\0\0\0\0\1", 12));
                        })),
            "a file is larger than allowed");
  std::string attributes;
  for (std::size_t i = 0; i <= kTarXattrsMax; ++i) {
    attributes += record("SCHILY.xattr.user." + std::to_string(10'000 + i), "v");
  }
  EXPECT_EQ(refusal(archive_of(extended('x', attributes) + raw('0', "f", 0))),
            "an extended attribute is larger than allowed");
}

std::string gzip(std::string_view text) {
  std::string out;
  GzipWriter writer([&out](ByteView bytes) {
    out += as_text(bytes);
    return Status();
  });
  EXPECT_TRUE(writer.write(as_bytes(text)).ok());
  EXPECT_TRUE(writer.finish().ok());
  return out;
}

std::string unpacked(std::string_view packed, std::string& out, std::size_t piece = 1000) {
  Unpacker unpacker([&out](ByteView bytes) {
    if (out.size() < 1U << 26U) out += as_text(bytes);
    return Status();
  });
  for (std::size_t at = 0; at < packed.size(); at += piece) {
    const Status fed = unpacker.feed(as_bytes(packed.substr(at, piece)));
    if (!fed.ok()) return fed.error().message();
  }
  const Status done = unpacker.finish();
  return done.ok() ? "" : done.error().message();
}

TEST(Unpacker, ReadsWhatTheWriterPacked) {
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += std::to_string(i * 7919);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{65'536}}) {
    std::string out;
    EXPECT_EQ(unpacked(gzip(text), out, piece), "");
    EXPECT_EQ(out, text);
  }
  std::string plain;
  EXPECT_EQ(unpacked("not compressed", plain), "");
  EXPECT_EQ(plain, "not compressed");
}

TEST(UnpackerAttack, MembersAndTails) {
  std::string out;
  EXPECT_EQ(unpacked(gzip("one") + gzip("two"), out),
            "data after the end of the compressed stream");
  EXPECT_EQ(unpacked(gzip("one") + "x", out, 1), "data after the end of the compressed stream");
  const std::string cut = gzip("one two three");
  EXPECT_EQ(unpacked(cut.substr(0, cut.size() - 1), out), "the compressed stream is cut short");
  std::string bad = gzip("one two three");
  bad[bad.size() - 6] ^= 1;
  EXPECT_EQ(unpacked(bad, out), "the gzip stream is broken");
  EXPECT_EQ(unpacked("ab", out), "this is no archive: it is too short");
}

TEST(UnpackerAttack, ABomb) {
  std::string out;
  std::string bomb;
  GzipWriter writer([&bomb](ByteView bytes) {
    bomb += as_text(bytes);
    return Status();
  });
  const std::string zeros(1U << 20U, '\0');
  for (int i = 0; i < 400; ++i) ASSERT_TRUE(writer.write(as_bytes(zeros)).ok());
  ASSERT_TRUE(writer.finish().ok());
  EXPECT_EQ(unpacked(bomb, out), "the stream unpacks to more than 250 times its size");
}

}  // namespace
}  // namespace cairn::codec
