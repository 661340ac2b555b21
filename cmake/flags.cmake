# Warnings are errors from the first day; dependencies are SYSTEM and stay out of it.
add_library(cairn_flags INTERFACE)
target_compile_options(cairn_flags INTERFACE
  -Werror -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast
  -Wno-missing-field-initializers  # members with defaults may be left out
  -Wcast-align -Wnon-virtual-dtor -Woverloaded-virtual -Wformat=2 -Wdouble-promotion
  -Wimplicit-fallthrough -Wundef -Wextra-semi)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports -Wrestrict and -Wnull-dereference inside its own <string> (GCC bugs 105651, 105329).
  target_compile_options(cairn_flags INTERFACE -Wduplicated-cond -Wlogical-op -Wno-restrict)
endif()
target_include_directories(cairn_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_definitions(cairn_flags INTERFACE _GNU_SOURCE SPDLOG_FMT_EXTERNAL)

if(CAIRN_SANITIZE)
  # At -O0 the compiler takes a third of the time, and only fuzzers need their modules fast. Object sizes are
  # known to an optimizing compiler only.
  add_compile_options(-O0 -g1 -fno-omit-frame-pointer -fsanitize=${CAIRN_SANITIZE}
                      -fno-sanitize=object-size -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${CAIRN_SANITIZE})
else()
  add_compile_options(-O2 -g1 -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE)
  add_compile_definitions(_FORTIFY_SOURCE=2 _GLIBCXX_ASSERTIONS)
  add_link_options(-pie -Wl,-z,relro,-z,now)
endif()

# Most of the time goes into templates that every file instantiates again: several files at once take less
# than half of it. clang-tidy takes each file alone, and so sees what it forgot to include.
if(CAIRN_UNITY)
  set(CMAKE_UNITY_BUILD ON)
  set(CMAKE_UNITY_BUILD_BATCH_SIZE 8)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ takes the files for headers that several others include.
    target_compile_options(cairn_flags INTERFACE -Wno-subobject-linkage)
  endif()
endif()

# Debian's lld has no unversioned name that g++ would find.
find_program(CAIRN_LLD ld.lld PATHS /usr/lib/llvm-19/bin NO_DEFAULT_PATH)
if(CAIRN_LLD)
  add_link_options(-fuse-ld=lld)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_link_options(-B/usr/lib/llvm-19/bin)
  endif()
endif()
