# Writes build_info.h with the commit and flags of this build; touches it only when something changed.
execute_process(COMMAND git rev-parse --verify --quiet HEAD WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE commit ERROR_QUIET
                OUTPUT_STRIP_TRAILING_WHITESPACE)
execute_process(COMMAND git status --porcelain --untracked-files=no WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE changes
                ERROR_QUIET)
if(NOT commit AND DEFINED ENV{KDABENCH_COMMIT})
  set(commit $ENV{KDABENCH_COMMIT})  # a copy of the tree without its history, on a borrowed machine
endif()
if(NOT commit)
  set(commit unknown)
endif()
set(dirty false)
if(changes)
  set(dirty true)
endif()
if(NOT CUDA)
  set(CUDA none)
  set(ARCHITECTURES none)
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#pragma once
namespace kdabench::build {
inline constexpr const char* kVersion = \"@VERSION@\";
inline constexpr const char* kCommit = \"@commit@\";
inline constexpr bool kDirty = @dirty@;
inline constexpr const char* kCompiler = \"@COMPILER@\";
inline constexpr const char* kBuildType = \"@BUILD_TYPE@\";
inline constexpr const char* kCuda = \"@CUDA@\";
inline constexpr const char* kCudaArchitectures = \"@ARCHITECTURES@\";
}
" @ONLY)
