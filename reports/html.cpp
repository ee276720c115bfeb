#include "reports/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "reports/escape.h"
#include "reports/html_page.h"
#include "reports/table.h"

namespace kdabench::reports {
namespace {

std::string text(const std::string& words) { return html_escaped(words); }

// Columns of words start with '<' and stand at the left, as their cells do.
std::string head(const std::vector<std::string>& names) {
  std::string out = "<thead><tr>";
  for (const std::string& name : names)
    out += fmt::format("<th scope=\"col\"{}><button>{}</button></th>", name[0] == '<' ? " class=\"left\"" : "",
                       text(name[0] == '<' ? name.substr(1) : name));
  return out + "</tr></thead>\n<tbody>\n";
}

std::string td(const std::string& shown, const std::string& sort = "") {
  return sort.empty() ? fmt::format("<td>{}</td>", text(shown))
                      : fmt::format("<td data-sort=\"{}\">{}</td>", text(sort), text(shown));
}

std::string number_td(const std::optional<double>& value, const std::string& shown) {
  return value ? td(shown, fmt::format("{}", *value)) : td("-");
}

std::string left(const std::string& words, const char* more = "") {
  return fmt::format("<td class=\"left{}\">{}</td>", more, text(words));
}

void entry(std::string& out, const char* name, const std::string& value) {
  if (!value.empty()) out += fmt::format("<dt>{}</dt><dd>{}</dd>", name, text(value));
}

std::string machine_of(const Report& report) {
  std::string out;
  for (const Device& device : report.devices)
    out += (out.empty() ? "" : ", ") + device.name + (device.driver.empty() ? "" : " (driver " + device.driver + ")");
  return out + (out.empty() ? "" : "; ") + report.machine.cpu + "; " + report.machine.os;
}

std::string build_of(const Report& report) {
  return fmt::format("kdabench {}, commit {}{}, {}, CUDA {}", report.meta.tool_version, report.meta.git_commit,
                     report.meta.git_dirty ? " with uncommitted changes" : "", report.meta.compiler,
                     report.meta.cuda_version);
}

std::string clocks_of(const GpuState& state) {
  const auto mhz = [](const std::optional<double>& hz) {
    return hz ? fmt::format("{:.0f}", *hz / 1e6) : std::string("-");
  };
  std::string out = fmt::format("SM {} MHz median, {} to {}", mhz(state.sm_clock_hz_median),
                                mhz(state.sm_clock_hz_min), mhz(state.sm_clock_hz_max));
  if (state.throttle_power_ns || state.throttle_thermal_ns)
    out += fmt::format("; throttled {:.1f} ms for power, {:.1f} ms for heat",
                       state.throttle_power_ns.value_or(0) / 1e6, state.throttle_thermal_ns.value_or(0) / 1e6);
  if (state.power_watts) out += fmt::format("; {:.0f} W", *state.power_watts);
  if (state.temperature_celsius) out += fmt::format("; {:.0f} C", *state.temperature_celsius);
  if (state.other_processes) out += fmt::format("; {} other processes", *state.other_processes);
  return state.reason.empty() ? out : out + "; " + state.reason;
}

// The kernels that ran, each with what it takes of the GPU. Without a head: the columns of a table within a table do not sort.
std::string kernels_of(const Resources& resources) {
  std::string out = "<table class=\"kernels\"><tbody>\n<tr><th class=\"left\">kernel</th><th>launches</th>"
                    "<th>registers</th><th>local B</th><th>shared B</th></tr>\n";
  const auto count = [](const std::optional<int64_t>& value) { return value ? fmt::format("{}", *value) : "-"; };
  for (const KernelResources& row : resources.kernels) {
    std::optional<int64_t> shared;
    if (row.static_shared_bytes && row.dynamic_shared_bytes) shared = *row.static_shared_bytes + *row.dynamic_shared_bytes;
    out += "<tr>" + left(row.instance ? *row.instance : row.name) + td(fmt::format("{}", row.launches)) +
           td(count(row.registers)) + td(count(row.local_bytes)) + td(count(shared)) + "</tr>\n";
  }
  out += "</tbody></table>";
  return resources.reason.empty() ? out : out + "<p class=\"soft\">" + text(resources.reason) + "</p>";
}

std::string provenance(const Source& source, const Cell& cell) {
  const Report& report = source.report;
  std::string validity = cell.validity.valid ? "valid" : "not valid";
  for (const Reason& reason : cell.validity.reasons) validity += "; " + reason.code + ": " + reason.detail;
  std::string out = "<details><summary>made by</summary><dl>";
  entry(out, "cell", cell.id);
  entry(out, "report", source.name);
  entry(out, "build", build_of(report));
  entry(out, "command", report.meta.command);
  entry(out, "run", report.meta.started_utc + " to " + report.meta.finished_utc);
  entry(out, "machine", machine_of(report) + "; fingerprint " + report.machine.fingerprint);
  entry(out, "clocks", cell.gpu_state ? clocks_of(*cell.gpu_state) : "not recorded");
  entry(out, "validity", validity);
  entry(out, "status", cell.status + (cell.status_reason.empty() ? "" : ": " + cell.status_reason));
  entry(out, "filled by", cell.axes.fill);
  if (cell.timing)
    entry(out, "timing",
          fmt::format("{} steps, {}{}, quartiles {} and {} ms", cell.timing->stats.n, cell.timing->clock,
                      cell.timing->graph ? ", one CUDA graph a step" : "", readable_ms(cell.timing->stats.q1_ns),
                      readable_ms(cell.timing->stats.q3_ns)));
  if (cell.accuracy && cell.accuracy->bound)
    entry(
        out, "check",
        fmt::format("{} {:.3g}, at most {:.3g}", cell.accuracy->metric, cell.accuracy->value, *cell.accuracy->bound));
  out += "</dl>";
  if (cell.resources) out += kernels_of(*cell.resources);
  return out + "</details>";
}

std::string cells_section(const std::vector<Source>& sources) {
  std::string out =
      "<h2 id=\"all-cells\">Every cell</h2>\n<p class=\"soft\">A click on a column sorts; the last column "
      "holds what made the cell.</p>\n<input id=\"filter\" placeholder=\"filter: words of a row\" "
      "aria-label=\"filter rows\">\n<div class=\"scroll\"><table id=\"cells\">\n";
  out += head({"<suite", "<model", "<config", "<device", "<protocol", "<task", "context", "batch", "<status",
               "ms/step", "TPOT ms", "of floor", "cache", "score", "<provenance"});
  for (const Source& source : sources)
    for (const Cell& cell : source.report.cells) {
      const bool timed = cell.status == "ok" && cell.timing;
      const std::optional<double> step = timed ? std::optional(cell.timing->stats.median_ns) : std::nullopt;
      const std::optional<double> tpot =
          timed && cell.suite == "decode" ? std::optional(cell.timing->tpot_ns) : std::nullopt;
      const std::optional<double> floor = timed && cell.floor ? cell.floor->fraction : std::nullopt;
      const std::optional<double> cache =
          cell.memory ? std::optional(double(cell.memory->cache_bytes_analytic)) : std::nullopt;
      const bool score = cell.accuracy && !cell.accuracy->bound;
      out += "<tr>" + left(cell.suite) + left(cell.axes.model.empty() ? "-" : cell.axes.model) +
             left(cell.axes.config) + left(cell.axes.device + " " + cell.axes.dtype) + left(cell.axes.protocol) +
             left(cell.axes.task.value_or("-"));
      const auto count = [](int64_t value, const std::string& shown) {
        return number_td(value ? std::optional(double(value)) : std::nullopt, shown);
      };
      out += count(cell.axes.context, readable_tokens(cell.axes.context));
      out += count(cell.axes.batch, fmt::format("{}", cell.axes.batch));
      out += fmt::format("<td class=\"left {}\">{}</td>", cell.status == "ok" ? "good" : "bad", text(cell.status));
      out += number_td(step, step ? readable_ms(*step) : "") + number_td(tpot, tpot ? readable_ms(*tpot) : "");
      out += number_td(floor, floor ? fmt::format("{:.0f} %", 100 * *floor) : "");
      out += number_td(cache, cache ? readable_bytes(*cache) : "");
      out += score ? td(fmt::format("{:.4g} {}", cell.accuracy->value, cell.accuracy->metric)) : td("-");
      out += "<td class=\"left\">" + provenance(source, cell) + "</td></tr>\n";
    }
  return out + "</tbody></table></div>\n";
}

std::string claims_section(const std::vector<Source>& sources, const std::vector<ClaimResult>& results) {
  std::string out =
      "<h2 id=\"claims\">The paper's claims</h2>\n<p class=\"soft\">floors: the ratio that two perfect engines "
      "would show at the same cells. bound: what no cost of a step can pass that is alike for both models.</p>\n"
      "<div class=\"scroll\"><table>\n" +
      head({"<claim", "<where", "paper", "measured", "floors", "bound", "<verdict", "<at length"});
  for (const ClaimResult& result : results) {
    const ClaimNumbers n = claim_numbers(result);
    const char* const tone = result.verdict == "reproduced" ? "good" : result.evidence.empty() ? "none" : "bad";
    out += "<tr>" + left(result.claim.says, " wide") + left(result.claim.section) + td(n.paper) + td(n.measured) +
           td(n.floors) + td(n.bound) + fmt::format("<td class=\"left {}\">{}</td>", tone, result.verdict);
    out += "<td class=\"left\"><details><summary>" + text(result.claim.id) + "</summary><pre>" +
           text(explain_claim(results, sources, result.claim.id)) + "</pre></details></td></tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

// Two columns wide on paper, two on the page.
bool is_wide(const std::string& svg) {
  const size_t at = svg.find(" width=\"");
  return at != std::string::npos && std::strtod(svg.c_str() + at + 8, nullptr) > 300;
}

}  // namespace

std::vector<HtmlFigure> figures_in(const fs::path& folder) {
  std::error_code error;
  std::vector<HtmlFigure> figures;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() != ".svg") continue;
    std::ifstream in(entry.path(), std::ios::binary);
    std::ostringstream bytes;
    if (!in || !(bytes << in.rdbuf()))
      throw Error(
          fmt::format("{}: wanted a figure, found one that cannot be read; draw it again", entry.path().string()));
    figures.push_back({entry.path().stem().string(), bytes.str()});
  }
  if (error)
    throw Error(fmt::format("{}: wanted a folder of figures, found {}; give another --figures", folder.string(),
                            error.message()));
  std::sort(figures.begin(), figures.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return figures;
}

std::string html_report(const std::vector<Source>& sources, const std::vector<ClaimResult>& claims,
                        const std::vector<HtmlFigure>& figures) {
  std::string machines;
  for (const Source& source : sources) {
    const std::string machine = source.report.devices.empty() ? "" : source.report.devices.front().name;
    if (!machine.empty() && machines.find(machine) == std::string::npos)
      machines += (machines.empty() ? "" : ", ") + machine;
  }
  std::string out = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<title>kdabench report</title>\n";
  out += kHtmlHead;
  out += "</head>\n<body>\n<header><div>\n<h1>kdabench report</h1>\n<p>" + text(machines) + "</p>\n<nav>";
  if (!claims.empty()) out += "<a href=\"#claims\">Claims</a>";
  if (!figures.empty()) out += "<a href=\"#figures\">Figures</a>";
  out +=
      "<a href=\"#tables\">Tables</a><a href=\"#all-cells\">Every cell</a><a href=\"#reports\">Reports</a></nav>\n"
      "</div></header>\n<main>\n";
  if (!claims.empty()) out += claims_section(sources, claims);
  if (!figures.empty()) {
    out += "<h2 id=\"figures\">Figures</h2>\n<div class=\"figures\">\n";
    for (const HtmlFigure& figure : figures)
      out += fmt::format(
          "<figure{2}><img alt=\"{0}\" src=\"data:image/svg+xml;base64,{1}\"><figcaption>{0}</figcaption></figure>\n",
          text(figure.name), base64(figure.svg), is_wide(figure.svg) ? " class=\"two\"" : "");
    out += "</div>\n";
  }
  out += "<h2 id=\"tables\">Tables</h2>\n";
  for (const Source& source : sources) out += tables(source.report, TableStyle::html);
  out += cells_section(sources);
  out += "<h2 id=\"reports\">Reports</h2>\n";
  for (const Source& source : sources) {
    const Report& report = source.report;
    out += "<h3>" + text(source.name) + "</h3>\n<details open><summary>made by</summary><dl>";
    entry(out, "build", build_of(report));
    entry(out, "command", report.meta.command);
    entry(out, "run", report.meta.started_utc + " to " + report.meta.finished_utc);
    entry(out, "machine", machine_of(report) + "; fingerprint " + report.machine.fingerprint);
    const auto rate = [](const std::optional<double>& value, double unit) {
      return value ? fmt::format("{:.2f}", *value / unit) : std::string("-");
    };
    entry(out, "ceilings",
          fmt::format("read {} TB/s, copy {} TB/s, products {} TFLOP/s: {}",
                      rate(report.ceilings.read_bytes_per_s, 1e12), rate(report.ceilings.copy_bytes_per_s, 1e12),
                      rate(report.ceilings.gemm_flops_per_s, 1e12), report.ceilings.method));
    entry(out, "schema", report.schema + " " + report.schema_version);
    out += "</dl></details>\n";
  }
  out += "<footer>Written by kdabench from the reports above; it loads nothing.</footer>\n</main>\n";
  return out + kHtmlScript + "</body>\n</html>\n";
}

}  // namespace kdabench::reports
