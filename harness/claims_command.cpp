// kdabench claims: the paper's claims against reports.

#include <fmt/format.h>

#include <memory>

#include "claims_data.h"
#include "harness/bind.h"
#include "harness/cli.h"
#include "harness/parse.h"
#include "kernels/base/error.h"
#include "reports/claims.h"

namespace kdabench {
namespace {

struct ClaimsFlags {
  std::vector<std::string> reports;
  std::string claims, explain, format = "text";
};

int claims(const ClaimsFlags& flags) {
  parse_choice("format", flags.format, {"text", "md", "latex", "json"});
  require(flags.explain.empty() || flags.format == "text",
          "--explain writes text alone; leave --format out, or --explain for the table in that format.");
  std::vector<reports::Source> sources;
  for (const std::string& path : flags.reports) sources.push_back(reports::read_source(path));
  const std::vector<reports::Claim> list = reports::claims_from_json(
      flags.claims.empty() ? reports::Json::parse(build::kClaims) : reports::read_json(flags.claims));
  const std::vector<reports::ClaimResult> results = reports::judge(list, sources);
  fmt::print("{}", flags.explain.empty() ? reports::claims_table(results, sources, flags.format)
                                         : reports::explain_claim(results, sources, flags.explain));
  return 0;
}

}  // namespace

void add_claims_command(CLI::App& app, const Parts&, Action& action) {
  CLI::App* command =
      app.add_subcommand("claims", "The paper's claims against reports: paper, measured, bound, verdict");
  const auto flags = std::make_shared<ClaimsFlags>();
  command->add_option("REPORT", flags->reports, "reports, and kernel_bench's JSON")->required()->type_name("");
  FlagBinder bind{*command};
  bind("format", flags->format, "Options", "text, md, latex or json");
  bind("explain", flags->explain, "Options", "one claim at length, by id or number: 6.3x");
  bind("claims", flags->claims, "Options", "another claims file than suites/claims.json of the build");
  command->footer("\nExit codes: 0 whatever the verdicts; 2 a file cannot be read.");
  command->callback([flags, &action] { action = [flags](const Call&) { return claims(*flags); }; });
}

}  // namespace kdabench
