// restore(snapshot(x)) == x, and opening what was sealed, for generated contents: page files with
// holes and repeats, noise, text, and what a capture makes of a file that was changed since its
// parent.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <random>

#include "codec/chunker.h"
#include "codec/compressor.h"
#include "codec/crypto.h"
#include "repository/capture_session.h"
#include "repository/test_repository.h"

namespace cairn::repository {
namespace {

// A piece of a file: so many bytes of one kind.
struct Piece {
  std::size_t bytes = 0;
  int kind = 0;  // zeros, noise, text, one of three pages again and again
  unsigned seed = 0;
};

std::ostream& operator<<(std::ostream& out, const Piece& piece) {
  return out << piece.bytes << " bytes of kind " << piece.kind << " seed " << piece.seed;
}

void append(std::string& out, const Piece& piece) {
  std::mt19937_64 generator(piece.seed % (piece.kind == 3 ? 3 : 1'000'000));
  const std::size_t end = out.size() + piece.bytes;
  switch (piece.kind) {
    case 0:
      out.resize(end);
      break;
    case 1:
      while (out.size() < end) out += static_cast<char>(generator());
      break;
    case 2:
      while (out.size() < end) out += std::to_string(generator() % 1000) + " ";
      break;
    default: {
      std::string page;
      while (page.size() < 65536) page += static_cast<char>(generator());
      while (out.size() < end) out += page;
    }
  }
  out.resize(end);
}

std::string content_of(const std::vector<Piece>& pieces) {
  std::string out;
  for (const Piece& piece : pieces) append(out, piece);
  return out;
}

// Lengths gather around the places where the code takes another way.
rc::Gen<std::size_t> lengths() {
  const auto near = [](std::size_t at) {
    return rc::gen::inRange<std::size_t>(at > 2 ? at - 2 : 0, at + 3);
  };
  return rc::gen::oneOf(rc::gen::inRange<std::size_t>(0, 200'000), near(4096), near(65536),
                        near(std::size_t{512} << 10U), near(std::size_t{1} << 20U),
                        rc::gen::just<std::size_t>(65536), rc::gen::just<std::size_t>(196608));
}

rc::Gen<std::vector<Piece>> pieces() {
  return rc::gen::resize(8, rc::gen::container<std::vector<Piece>>(rc::gen::build<Piece>(
                                rc::gen::set(&Piece::bytes, lengths()),
                                rc::gen::set(&Piece::kind, rc::gen::inRange(0, 4)),
                                rc::gen::set(&Piece::seed, rc::gen::inRange(0U, 1000U)))));
}

RC_GTEST_PROP(Property, ChunksCoverTheFileWithinTheirLimits, ()) {
  const std::string file = content_of(*pieces());
  for (ByteView rest = as_bytes(file); !rest.empty();) {
    const std::size_t cut =
        codec::first_cut(rest.first(std::min(rest.size(), codec::kChunkBytesMax)));
    RC_ASSERT(cut > 0U && cut <= std::min(rest.size(), codec::kChunkBytesMax));
    RC_ASSERT(cut >= codec::kChunkBytesMin || cut == rest.size());
    rest = rest.subspan(cut);
  }
}

RC_GTEST_PROP(Property, FramesAndBoxesGiveBackWhatWentIn, ()) {
  const std::string plain = content_of(*pieces());
  codec::Compressor compressor;
  if (const auto frame = compressor.compress(as_bytes(plain))) {
    RC_ASSERT(frame->size() < plain.size());
    Bytes back(plain.size());
    RC_ASSERT(compressor.decompress_into(*frame, back).ok());
    RC_ASSERT(as_text(back) == plain);
    Bytes shorter(plain.size() - 1);
    RC_ASSERT(!compressor.decompress_into(*frame, shorter).ok());
  }
  codec::Box box(codec::random_box_key());
  Bytes sealed(plain.size() + codec::kBoxOverheadBytes);
  box.seal_into(as_bytes(plain), sealed);
  const std::size_t at = *rc::gen::inRange<std::size_t>(0, sealed.size());
  sealed[at] ^= std::byte{1};
  RC_ASSERT(!box.open_in_place(sealed).ok());
  sealed[at] ^= std::byte{1};
  Bytes opened;
  RC_ASSERT(box.open(sealed, opened).ok());
  RC_ASSERT(as_text(opened) == plain);
  const auto in_place = box.open_in_place(sealed);
  RC_ASSERT(in_place.ok() && as_text(*in_place) == plain);
}

class RoundTrip : public RepositoryTest {
 protected:
  [[nodiscard]] std::string source() const { return path_ + "/source"; }

  // Files named 0, 1, ... with these contents; holes are made where zeros are.
  void put(std::size_t number, const std::string& content, bool with_holes) const {
    const std::string path = source() + "/" + std::to_string(number);
    const std::size_t first = with_holes ? content.find_first_not_of('\0') : 0;
    std::ofstream out(path, std::ios::binary);
    if (first != std::string::npos) {
      out.seekp(static_cast<std::streamoff>(first));
      out << content.substr(first);
    }
    out.close();
    std::filesystem::resize_file(path, content.size());
  }

  // By a session that knows what the one before it found.
  Result<Id> snapshot_again() {
    TRY_ASSIGN(const os::Dir dir, os::Dir::open(source()));
    CaptureSession::Options options;
    options.scratch = &*scratch_;
    options.known = std::move(known_);
    TRY_ASSIGN(const auto session,
               CaptureSession::begin(*repository_, {{0, &dir}}, std::move(options), progress_, {}));
    TRY(session->pass());
    TRY(session->cut(0));
    TRY_ASSIGN(PendingSnapshot pending, session->store("{}"));
    known_ = session->take_facts();
    return commit(std::move(pending));
  }

  void expect_restored(const Id& snapshot, const std::vector<std::string>& contents) {
    const Status restored = restore_path(snapshot);
    ASSERT_TRUE(restored.ok()) << restored.error().message();
    for (std::size_t i = 0; i < contents.size(); ++i) {
      ASSERT_TRUE(read_back(target() + "/" + std::to_string(i)) == contents[i]) << "file " << i;
    }
  }

  std::optional<FactsFile> known_;
};

// Not a property of rapidcheck: a capture waits for its lock, so that one of many files is looked
// at instead of many of one. The seed is fixed; the files are of all kinds and lengths.
TEST_F(RoundTrip, RestoresWhatWasCapturedAndWhatChangedSince) {
  std::mt19937 generator(7);
  const auto piece = [&generator] {
    constexpr std::size_t kLengths[] = {0, 1, 4095, 65535, 65536, 196608, 524288, 524289, 1048576};
    return Piece{.bytes = kLengths[generator() % std::size(kLengths)] + generator() % 3,
                 .kind = static_cast<int>(generator() % 4),
                 .seed = static_cast<unsigned>(generator() % 1000)};
  };
  std::vector<std::string> contents;
  for (std::size_t i = 0; i < 60; ++i) {
    std::vector<Piece> of_file(generator() % 6);
    std::generate(of_file.begin(), of_file.end(), piece);
    contents.push_back(content_of(of_file));
    // Half of them are whole pages, as those of a database are.
    if (i % 2 == 0) contents.back().resize((contents.back().size() + 4095) / 4096 * 4096);
    put(i, contents.back(), i % 3 == 0);
  }
  const auto still = snapshot_source();
  ASSERT_TRUE(still.ok()) << still.error().message();
  expect_restored(*still, contents);
  const auto first = snapshot_again();
  ASSERT_TRUE(first.ok()) << first.error().message();
  expect_restored(*first, contents);

  for (std::size_t i = 0; i < contents.size(); i += 7) {
    append(contents[i], {.bytes = 1 + generator() % 70'000, .kind = 1, .seed = 1});
    put(i, contents[i], false);
  }
  const auto second = snapshot_again();
  ASSERT_TRUE(second.ok()) << second.error().message();
  expect_restored(*second, contents);
}

}  // namespace
}  // namespace cairn::repository
