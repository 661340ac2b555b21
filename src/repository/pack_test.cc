// Packs, index files, config and keys: round trips, and what must be refused.
#include "repository/pack.h"

#include <gtest/gtest.h>

#include "repository/blob_index.h"
#include "repository/config.h"
#include "repository/key.h"
#include "repository/repository.h"

namespace cairn::repository {
namespace {

PackBuilder::Finished sample_pack(codec::Box& box) {
  PackBuilder builder;
  for (const std::string& text : {std::string("one"), std::string("two"), std::string(5000, 'x')}) {
    Bytes sealed;
    box.seal(as_bytes(text), sealed);
    builder.add({.id = codec::sha256(as_bytes(text)),
                 .type = text == "two" ? BlobType::kTree : BlobType::kData,
                 .plain_bytes = text == "two" ? 77U : 0U},
                sealed);
  }
  return std::move(builder).finish(box);
}

TEST(Pack, HeaderComesBackAndAddsUp) {
  codec::Box box(codec::random_box_key());
  const PackBuilder::Finished pack = sample_pack(box);
  EXPECT_EQ(pack.pack.id, codec::sha256(pack.content));
  EXPECT_EQ(pack_size(pack.pack.blobs), pack.content.size());
  EXPECT_EQ(read_pack_header(pack.content, box).value(), pack.pack.blobs);
}

TEST(Pack, MalformedHeadersAreRefused) {
  codec::Box box(codec::random_box_key());
  const Bytes good = sample_pack(box).content;
  EXPECT_FALSE(read_pack_header({}, box).ok());
  for (std::size_t cut = 1; cut < 200; ++cut) {
    EXPECT_FALSE(read_pack_header(ByteView(good).first(good.size() - cut), box).ok());
  }
  Bytes longer = good;
  longer.insert(longer.begin(), std::byte{0});  // a gap before the first blob
  EXPECT_FALSE(read_pack_header(longer, box).ok());
  Bytes wrong_length = good;
  store_le32(wrong_length.data() + wrong_length.size() - 4, 0xffffffffU);
  EXPECT_FALSE(read_pack_header(wrong_length, box).ok());

  Bytes entry(37);
  entry[0] = std::byte{9};  // an unknown type
  store_le32(entry.data() + 1, 100);
  EXPECT_FALSE(parse_pack_header(entry).ok());
  entry[0] = std::byte{0};
  EXPECT_TRUE(parse_pack_header(entry).ok());
  store_le32(entry.data() + 1, 31);  // shorter than its box
  EXPECT_FALSE(parse_pack_header(entry).ok());
  EXPECT_FALSE(parse_pack_header(ByteView(entry).first(36)).ok());
}

TEST(BlobIndex, FindsWhatWasMergedAndComesBackFromJson) {
  std::vector<IndexedPack> packs;
  for (int p = 0; p < 50; ++p) {
    IndexedPack pack{codec::sha256(as_bytes("pack " + std::to_string(p))), {}};
    std::uint32_t offset = 0;
    for (int b = 0; b < 100; ++b) {
      const auto length = static_cast<std::uint32_t>(40 + b);
      pack.blobs.push_back({.id = codec::sha256(as_bytes(std::to_string(p * 90 + b))),
                            .type = p % 2 == 0 ? BlobType::kData : BlobType::kTree,
                            .offset = offset,
                            .length = length,
                            .plain_bytes = b % 3 == 0 ? 1000U : 0U});
      offset += length;
    }
    packs.push_back(std::move(pack));
  }
  EXPECT_EQ(parse_index(encode_index(packs)).value().size(), packs.size());
  EXPECT_EQ(parse_index(encode_index(packs)).value()[7].blobs, packs[7].blobs);
  auto index = BlobIndex::merge(BlobIndex(), {packs.begin(), packs.begin() + 20});
  index = BlobIndex::merge(*index, {packs.begin() + 20, packs.end()});
  for (const IndexedPack& pack : packs) {
    for (const PackedBlob& blob : pack.blobs) {
      ASSERT_TRUE(index->has(blob.type, blob.id));
      bool here = false;
      for (const auto& place : index->find_all(blob.type, blob.id)) {
        here = here || (place.pack == pack.id && place.blob == blob);
      }
      EXPECT_TRUE(here);
    }
  }
  EXPECT_FALSE(index->has(BlobType::kData, codec::sha256(as_bytes("nothing"))));
  EXPECT_EQ(index->packs().size(), packs.size());
}

// Ids that begin alike, as those of a repository may that somebody made to be slow.
TEST(BlobIndex, FindsIdsThatAreNotSpreadEvenly) {
  const auto id_of = [](int first, int last) {
    Id id;
    id.bytes.front() = static_cast<std::byte>(first);
    id.bytes.back() = static_cast<std::byte>(last);
    return id;
  };
  for (int count = 1; count < 70; ++count) {
    IndexedPack pack{codec::sha256(as_bytes("pack")), {}};
    for (int i = 0; i < count; ++i) {
      pack.blobs.push_back({.id = id_of(i % 3 == 0 ? 0xff : 0, 2 * i),
                            .type = BlobType::kData,
                            .offset = static_cast<std::uint32_t>(i),
                            .length = 40});
    }
    const auto index = BlobIndex::merge(BlobIndex(), {pack});
    for (const PackedBlob& blob : pack.blobs) {
      const auto found = index->find(BlobType::kData, blob.id);
      ASSERT_TRUE(found);
      EXPECT_EQ(found->blob.offset, blob.offset);
      EXPECT_FALSE(index->has(BlobType::kTree, blob.id));
    }
    for (int i = 0; i < count; ++i) {
      EXPECT_FALSE(index->has(BlobType::kData, id_of(0, 2 * i + 1)));
      EXPECT_FALSE(index->has(BlobType::kData, id_of(0x80, 2 * i)));
    }
  }
}

TEST(BlobIndex, MalformedIndexesAreRefused) {
  const std::string id = codec::sha256({}).hex();
  const auto blob = [&](const std::string& members) {
    return R"({"packs":[{"id":")" + id + R"(","blobs":[{)" + members + "}]}]}";
  };
  EXPECT_TRUE(
      parse_index(blob(R"("id":")" + id + R"(","type":"data","offset":0,"length":40)")).ok());
  for (const std::string& bad :
       {std::string("[]"), std::string("{}"), std::string(R"({"packs":[{"blobs":[]}]})"),
        blob(R"("type":"data","offset":0,"length":40)"),
        blob(R"("id":")" + id + R"(","offset":0,"length":40)"),
        blob(R"("id":")" + id + R"(","type":"door","offset":0,"length":40)"),
        blob(R"("id":")" + id + R"(","type":"data","offset":0,"length":3)"),
        blob(R"("id":")" + id + R"(","type":"data","offset":4294967290,"length":40)"),
        blob(R"("id":")" + id + R"(","type":"data","offset":-1,"length":40)"),
        blob(R"("id":")" + id + R"(","type":"data","offset":0,"length":99999999999)")}) {
    EXPECT_EQ(parse_index(bad).error().code(), Code::kCorrupt) << bad;
  }
}

TEST(Config, PolynomialsAreIrreducible) {
  EXPECT_TRUE(is_irreducible(0x3DA3358B4DC173));  // a published one of restic's chunker
  EXPECT_TRUE(is_irreducible(0b111));
  EXPECT_FALSE(is_irreducible(0b101));  // (x + 1)^2
  EXPECT_FALSE(is_irreducible(0x3DA3358B4DC172));
  const Config config = make_config();
  EXPECT_TRUE(is_irreducible(config.chunker_polynomial));
  EXPECT_EQ(parse_config(encode_config(config)).value().id, config.id);
  Config newer = config;
  newer.version = 3;
  EXPECT_EQ(parse_config(encode_config(newer)).error().code(), Code::kInvalid);
  EXPECT_EQ(parse_config("{}").error().code(), Code::kInvalid);
  EXPECT_EQ(parse_config("x").error().code(), Code::kCorrupt);
}

TEST(Key, OpensWithItsPasswordOnlyAndRefusesMalformedFiles) {
  const codec::BoxKey master = codec::random_box_key();
  const std::string json = encode_key(master, "right", {"h", "u"}).value();
  EXPECT_EQ(open_key(json, "right").value(), master);
  EXPECT_EQ(open_key(json, "wrong").error().code(), Code::kDenied);
  const auto changed = [&json](const std::string& from, const std::string& to) {
    std::string out = json;
    return out.replace(out.find(from), from.size(), to);
  };
  for (const std::string& bad :
       {std::string(""), std::string("[]"), std::string("{}"), changed("scrypt", "md5"),
        changed("\"N\":32768", "\"N\":1099511627776"), changed("\"N\":32768", "\"N\":32767"),
        changed("\"N\":32768", "\"N\":\"x\""), changed("\"r\":8", "\"r\":0"),
        changed("\"p\":4", "\"p\":4294967295"), changed("\"salt\":\"", "\"salt\":\"AAAA"),
        changed("\"data\":\"", "\"data\":\"!!")}) {
    EXPECT_EQ(open_key(bad, "right").error().code(), Code::kInvalid) << bad;
  }
}

TEST(Password, IsLongAndNeverTheSame) {
  const std::string one = make_password();
  EXPECT_EQ(one.size(), 32U);
  EXPECT_NE(one, make_password());
}

}  // namespace
}  // namespace cairn::repository
