#pragma once
// One list of fields becomes the flags of a command.

#include <CLI/CLI.hpp>
#include <string>

namespace kdabench {

struct FlagBinder {
  CLI::App& command;

  void operator()(const char* name, std::string& value, const char* group, const char* help) const {
    CLI::Option* option = command.add_option(std::string("--") + name, value, help)->group(group)->type_name("");
    if (!value.empty()) option->capture_default_str();
  }
  void operator()(const char* name, bool& value, const char* group, const char* help) const {
    command.add_flag(std::string("--") + name, value, help)->group(group);
  }
};

}  // namespace kdabench
