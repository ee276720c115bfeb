#include "kernels/base/kernel_use.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <regex>

namespace kdabench {

void count_launch(std::vector<KernelUse>& uses, const KernelLaunch& launch) {
  auto at = std::find_if(uses.begin(), uses.end(), [&](const KernelUse& use) {
    return use.function == launch.function && use.name == launch.name;
  });
  if (at == uses.end()) {
    at = uses.emplace(at);
    at->name = launch.name;
    at->function = launch.function;
  }
  ++at->launches;
  at->dynamic_shared_bytes = std::max(at->dynamic_shared_bytes, launch.shared_bytes);
}

std::string kernel_instance(const std::string& mangled) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> readable(
      abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), std::free);
  if (status != 0 || !readable) return mangled;
  static const std::regex scopes(R"(\(anonymous namespace\)::|kdabench::(\w+::)*|^void )");
  static const std::regex casts(R"(\(\w+\)(?=-?\d))");  // of template arguments: (Mode)1, (int)128
  const std::string name = std::regex_replace(std::regex_replace(readable.get(), scopes, ""), casts, "");
  return name.substr(0, name.find('('));                // parameters
}

}  // namespace kdabench
