# The fuzzer sees only code that counts its branches: the modules that parse foreign bytes.
set(cairn_fuzzed_modules codec net repository docker)

# Only files that ask os/fault.h differ in a build with seeded bugs; the rest comes from the cache.
function(cairn_seed_bugs)
  if(CAIRN_SEEDED_BUGS)
    foreach(source ${ARGN})
      file(STRINGS ${source} asks REGEX "#include \"os/fault.h\"")
      if(asks)
        set_property(SOURCE ${source} APPEND PROPERTY COMPILE_DEFINITIONS CAIRN_SEEDED_BUGS=1)
      endif()
    endforeach()
  endif()
endfunction()

# cairn_module(name SOURCES a.cc ... DEPS lower modules and libraries ... TESTS a_test.cc ...)
# makes the library cairn_<name> and, where there are tests, the binary cairn_<name>_test.
# Sources are listed by name; tools/check_tree.py fails on a file that no list names.
function(cairn_module name)
  cmake_parse_arguments(M "" "" "SOURCES;DEPS;TESTS;TEST_DEPS" ${ARGN})
  add_library(cairn_${name} STATIC ${M_SOURCES})
  target_link_libraries(cairn_${name} PUBLIC ${M_DEPS} PRIVATE cairn_flags)
  target_include_directories(cairn_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  cairn_seed_bugs(${M_SOURCES})
  if(CAIRN_FUZZ AND name IN_LIST cairn_fuzzed_modules)
    target_compile_options(cairn_${name} PRIVATE -O1 -fsanitize=fuzzer-no-link)
  endif()
  if(M_TESTS)
    add_executable(cairn_${name}_test ${M_TESTS})
    target_link_libraries(cairn_${name}_test PRIVATE cairn_${name} ${M_TEST_DEPS} cairn_flags
                          GTest::gtest_main)
    set_property(GLOBAL APPEND PROPERTY CAIRN_UNIT_TESTS cairn_${name}_test)
    add_test(NAME ${name} COMMAND cairn_${name}_test)
    set_tests_properties(${name} PROPERTIES TIMEOUT 300)
  endif()
endfunction()
