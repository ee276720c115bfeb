#include "reports/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <tuple>

#include "reports/grid.h"
#include "reports/escape.h"

namespace kdabench::reports {
namespace {

// Code points, not bytes: a dash outside ASCII is one column wide.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string right(const std::string& text, size_t width) {
  const size_t used = width_of(text);
  return std::string(width > used ? width - used : 0, ' ') + text;
}

std::vector<size_t> widths_of(const Grid& grid) {
  std::vector<size_t> widths;
  for (size_t c = 0; c < grid.columns.size(); ++c) {
    size_t widest = width_of(grid.columns[c].name);
    for (const auto& row : grid.rows) widest = std::max(widest, width_of(row[c]));
    widths.push_back(widest);
  }
  return widths;
}

std::string without_trailing_spaces(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string terminal(const Grid& grid) {
  std::vector<size_t> widths = widths_of(grid);
  const auto end_of_group = [&](size_t first) {
    size_t last = first;
    while (!grid.columns[first].group.empty() && last + 1 < widths.size() &&
           grid.columns[last + 1].group == grid.columns[first].group)
      ++last;
    return last;
  };
  const auto span = [&](size_t first, size_t last) {
    size_t total = 2 * (last - first);
    for (size_t c = first; c <= last; ++c) total += widths[c];
    return total;
  };
  std::string groups, names, rule, body;
  for (size_t first = 0; first < widths.size();) {
    const size_t last = end_of_group(first);
    const std::string& group = grid.columns[first].group;
    const size_t used = span(first, last);
    if (width_of(group) > used) widths[first] += width_of(group) - used;
    groups += (first ? "  " : "") + right(group, span(first, last));
    first = last + 1;
  }
  for (size_t c = 0; c < widths.size(); ++c) {
    names += (c ? "  " : "") + right(grid.columns[c].name, widths[c]);
    rule += (c ? "  " : "") + std::string(widths[c], '-');
  }
  for (const auto& row : grid.rows) {
    std::string line;
    for (size_t c = 0; c < widths.size(); ++c) line += (c ? "  " : "") + right(row[c], widths[c]);
    body += without_trailing_spaces(line);
  }
  const bool grouped = groups.find_first_not_of(' ') != std::string::npos;
  return (grouped ? without_trailing_spaces(groups) : "") + without_trailing_spaces(names) + rule + "\n" +
         body;
}

std::string markdown(Grid grid) {
  for (Column& column : grid.columns)
    if (!column.group.empty()) column.name = column.group + " " + column.name;
  const std::vector<size_t> widths = widths_of(grid);
  std::string head = "|", rule = "|", body;
  for (size_t c = 0; c < widths.size(); ++c) {
    head += " " + right(grid.columns[c].name, widths[c]) + " |";
    rule += std::string(widths[c] + 1, '-') + ":|";
  }
  for (const auto& row : grid.rows) {
    body += "|";
    for (size_t c = 0; c < widths.size(); ++c) body += " " + right(row[c], widths[c]) + " |";
    body += "\n";
  }
  return head + "\n" + rule + "\n" + body;
}

// booktabs: a rule under each group of columns.
std::string latex(const Grid& grid) {
  const size_t n = grid.columns.size();
  std::string groups, rules;
  for (size_t first = 0; first < n;) {
    size_t last = first;
    const std::string& group = grid.columns[first].group;
    while (!group.empty() && last + 1 < n && grid.columns[last + 1].group == group) ++last;
    groups += (first ? " & " : "") + fmt::format("\\multicolumn{{{}}}{{c}}{{{}}}", last - first + 1, latex_escaped(group));
    if (!group.empty()) rules += fmt::format("\\cmidrule(lr){{{}-{}}}", first + 1, last + 1);
    first = last + 1;
  }
  std::string out = fmt::format("\\begin{{tabular}}{{{:r>{}}}}\n\\toprule\n", "", n);
  if (!rules.empty()) out += groups + " \\\\\n" + rules + "\n";
  for (size_t c = 0; c < n; ++c) out += (c ? " & " : "") + latex_escaped(grid.columns[c].name);
  out += " \\\\\n\\midrule\n";
  for (const auto& row : grid.rows) {
    for (size_t c = 0; c < n; ++c) out += (c ? " & " : "") + latex_escaped(row[c]);
    out += " \\\\\n";
  }
  return out + "\\bottomrule\n\\end{tabular}\n";
}

std::string html(const Grid& grid) {
  const size_t n = grid.columns.size();
  std::string groups, names, body;
  bool grouped = false;
  for (size_t first = 0; first < n;) {
    size_t last = first;
    const std::string& group = grid.columns[first].group;
    while (!group.empty() && last + 1 < n && grid.columns[last + 1].group == group) ++last;
    groups += fmt::format("<th colspan=\"{}\">{}</th>", last - first + 1, html_escaped(group));
    grouped |= !group.empty();
    first = last + 1;
  }
  for (const Column& column : grid.columns)
    names += fmt::format("<th scope=\"col\"><button>{}</button></th>", html_escaped(column.name));
  for (const auto& row : grid.rows) {
    body += "<tr>";
    for (const std::string& text : row) body += fmt::format("<td>{}</td>", html_escaped(text));
    body += "</tr>\n";
  }
  return fmt::format("<div class=\"scroll\"><table><thead>{}<tr>{}</tr></thead>\n<tbody>\n{}</tbody></table></div>\n",
                     grouped ? "<tr class=\"groups\">" + groups + "</tr>" : "", names, body);
}

std::string percent(double fraction) { return fmt::format("{:.0f} %", 100 * fraction); }

bool has_time(const Cell& cell) { return cell.status == "ok" && cell.timing; }

using Key = std::tuple<int64_t, int64_t, std::string>;  // context, batch (0 in same-memory), task
using Row = std::map<std::string, const Cell*>;         // by model

// A row per context, a block of columns per model. The suites that sweep time over context are shown like
// this.
Grid sweep(const std::vector<const Cell*>& cells, bool decode) {
  const bool same_memory = cells.front()->axes.protocol == "same-memory";
  std::map<Key, Row> rows;
  std::set<std::string> names;
  std::set<int64_t> batches;
  bool tasks = false, floors = false, caches = false;
  for (const Cell* cell : cells) {
    const Axes& axes = cell->axes;
    rows[{axes.context, same_memory ? 0 : axes.batch, axes.task.value_or("")}][axes.model] = cell;
    names.insert(axes.model);
    batches.insert(axes.batch);
    tasks |= axes.task.has_value();
    floors |= cell->floor && cell->floor->fraction;
    caches |= decode && cell->memory && !same_memory;  // there the caches fill the budget of the heading
  }
  const bool show_batch = same_memory || batches.size() > 1;
  const bool amortised = decode && (same_memory || batches != std::set<int64_t>{1});
  const std::vector<std::string> models = in_order(names);
  const bool ratio = names.count("mla") && names.count("kimi-linear");

  Grid grid;
  if (tasks) grid.columns.push_back({"", "task"});
  grid.columns.push_back({"", "context"});
  if (show_batch && !same_memory) grid.columns.push_back({"", "batch"});
  for (const std::string& model : models) {
    if (same_memory) grid.columns.push_back({model, "batch"});
    if (amortised) grid.columns.push_back({model, "ms/step"});
    grid.columns.push_back({model, decode ? "TPOT ms" : "ms"});
    if (!decode) grid.columns.push_back({model, "tokens/s"});
    if (floors) grid.columns.push_back({model, "of floor"});
    if (caches) grid.columns.push_back({model, "cache"});
  }
  if (ratio) grid.columns.push_back({"mla /", "kimi-linear"});

  for (const auto& [key, row] : rows) {
    const auto& [context, batch, task] = key;
    std::vector<std::string> line;
    if (tasks) line.push_back(task);
    line.push_back(readable_tokens(context));
    if (show_batch && !same_memory) line.push_back(fmt::format("{}", batch));
    std::map<std::string, double> time;
    for (const std::string& model : models) {
      const auto at = row.find(model);
      const Cell* cell = at == row.end() ? nullptr : at->second;
      const bool timed = cell && has_time(*cell);
      if (timed) time[model] = decode ? cell->timing->tpot_ns : cell->timing->stats.median_ns;
      if (same_memory) line.push_back(cell && cell->axes.batch ? fmt::format("{}", cell->axes.batch) : "-");
      if (amortised) line.push_back(timed ? readable_ms(cell->timing->stats.median_ns) : "-");
      line.push_back(timed  ? readable_ms(time[model])
                     : cell ? (cell->status == "ok" ? "no time" : cell->status)
                            : "-");
      if (!decode) line.push_back(timed && cell->throughput ? fmt::format("{:.0f}", cell->throughput->tokens_per_s) : "-");
      if (floors)
        line.push_back(timed && cell->floor && cell->floor->fraction ? percent(*cell->floor->fraction) : "-");
      if (caches)
        line.push_back(cell && cell->memory ? readable_bytes(double(cell->memory->cache_bytes_analytic))
                                            : "-");
    }
    if (ratio) {
      const bool both = time.count("mla") && time.count("kimi-linear") && time["kimi-linear"] > 0;
      line.push_back(both ? fmt::format("{:.2f}x", time["mla"] / time["kimi-linear"]) : "-");
    }
    grid.rows.push_back(line);
  }
  return grid;
}

// One row a cell, with the columns that any cell fills.
Grid listing(const std::vector<const Cell*>& cells) {
  using Show = std::function<std::string(const Cell&)>;
  const auto bytes = [](int64_t value) {
    return value > 0 ? readable_bytes(static_cast<double>(value)) : "";
  };
  const std::vector<std::pair<std::string, Show>> all = {
      {"model", [](const Cell& c) { return c.axes.model; }},
      {"task", [](const Cell& c) { return c.axes.task.value_or(""); }},
      {"context", [](const Cell& c) { return c.axes.context ? readable_tokens(c.axes.context) : ""; }},
      {"batch", [](const Cell& c) { return c.axes.batch ? fmt::format("{}", c.axes.batch) : ""; }},
      {"status", [](const Cell& c) { return c.status; }},
      {"ms", [](const Cell& c) { return has_time(c) ? readable_ms(c.timing->stats.median_ns) : ""; }},
      {"of floor",
       [](const Cell& c) {
         return has_time(c) && c.floor && c.floor->fraction ? percent(*c.floor->fraction) : "";
       }},
      {"weights", [&](const Cell& c) { return c.memory ? bytes(c.memory->weight_bytes) : ""; }},
      {"cache/token", [&](const Cell& c) { return c.memory ? bytes(c.memory->cache_bytes_per_token) : ""; }},
      {"state/sequence",
       [&](const Cell& c) { return c.memory ? bytes(c.memory->state_bytes_per_sequence) : ""; }},
      {"cache", [&](const Cell& c) { return c.memory ? bytes(c.memory->cache_bytes_analytic) : ""; }},
      {"metric", [](const Cell& c) { return c.accuracy ? c.accuracy->metric : ""; }},
      {"value", [](const Cell& c) { return c.accuracy ? fmt::format("{:.4g}", c.accuracy->value) : ""; }},
      {"+/-",
       [](const Cell& c) {
         return c.accuracy && c.accuracy->stderr_value ? fmt::format("{:.2g}", *c.accuracy->stderr_value)
                                                       : "";
       }},
      {"n",
       [](const Cell& c) { return c.accuracy && c.accuracy->n ? fmt::format("{}", c.accuracy->n) : ""; }},
  };
  Grid grid;
  grid.rows.resize(cells.size());
  for (const auto& [name, show] : all) {
    std::vector<std::string> column;
    for (const Cell* cell : cells) column.push_back(show(*cell));
    if (std::all_of(column.begin(), column.end(), [](const std::string& text) { return text.empty(); }))
      continue;
    grid.columns.push_back({"", name});
    for (size_t i = 0; i < cells.size(); ++i) grid.rows[i].push_back(column[i].empty() ? "-" : column[i]);
  }
  return grid;
}

std::string heading(const Cell& cell) {
  const Axes& axes = cell.axes;
  std::string text = fmt::format("{}: {}, {} {}", cell.suite, axes.config, axes.device, axes.dtype);
  if (!axes.protocol.empty()) text += ", " + axes.protocol;
  if (axes.protocol == "same-memory" && axes.cache_budget_bytes)
    text += fmt::format(" ({} of cache)", readable_bytes(static_cast<double>(*axes.cache_budget_bytes)));
  return text;
}

}  // namespace

std::string tables(const Report& report, TableStyle style) {
  std::vector<std::pair<std::string, std::vector<const Cell*>>> sections;  // in order of appearance
  for (const Cell& cell : report.cells) {
    const std::string name = heading(cell);
    auto at = std::find_if(sections.begin(), sections.end(), [&](const auto& s) { return s.first == name; });
    if (at == sections.end()) at = sections.insert(at, {name, {}});
    at->second.push_back(&cell);
  }
  std::string out;
  for (const auto& [name, cells] : sections) {
    const std::string& suite = cells.front()->suite;
    std::set<int64_t> batches;
    for (const Cell* cell : cells) batches.insert(cell->axes.batch);
    const bool one_batch =
        cells.front()->axes.protocol != "same-memory" && batches.size() == 1 && *batches.begin() > 0;
    const std::string title = name + (one_batch ? fmt::format(", batch {}", *batches.begin()) : "");
    const bool decode = suite == "decode";
    const bool accuracy = cells.front()->axes.protocol == "accuracy";
    const Grid grid = accuracy                      ? score_grid(cells)
                      : decode || suite == "prefill" ? sweep(cells, decode)
                                                     : listing(cells);
    const bool plain = style == TableStyle::terminal;
    if (style == TableStyle::latex) {
      out += fmt::format("{}% {}\n{}", out.empty() ? "% needs \\usepackage{booktabs}\n" : "\n", one_line(title), latex(grid));
      continue;
    }
    if (style == TableStyle::html) {
      out += fmt::format("<h3>{}</h3>\n{}", html_escaped(title), html(grid));
      continue;
    }
    out += (out.empty() ? "" : "\n") + (plain ? title + "\n" : "**" + title + "**\n") + "\n";
    out += plain ? terminal(grid) : markdown(grid);
    std::set<std::string> reasons;
    if (accuracy) reasons = score_notes(cells);
    for (const Cell* cell : cells)
      if (cell->status != "ok" && !cell->status_reason.empty())
        reasons.insert(fmt::format("{}: {}", cell->status, cell->status_reason));
    if (!reasons.empty() && !plain) out += "\n";
    for (const std::string& reason : reasons) out += plain ? "  " + reason + "\n" : "* " + reason + "\n";
  }
  return out.empty() ? "no cells\n" : out;
}

namespace {

// What the tables answer: at the longest context that both have, the baseline's time over the hybrid's, a line for each
// protocol and budget; and their bytes.
std::string headlines(const Report& report) {
  std::map<std::string, std::map<int64_t, Row>> sweeps;  // by heading, then context
  for (const Cell& cell : report.cells)
    if (cell.suite == "decode" && has_time(cell) && (cell.axes.protocol == "same-memory" || cell.axes.batch == 1))
      sweeps[heading(cell)][cell.axes.context][cell.axes.model] = &cell;
  std::string out;
  for (const auto& [name, contexts] : sweeps) {
    for (auto at = contexts.rbegin(); at != contexts.rend(); ++at) {
      const auto mla = at->second.find("mla"), hybrid = at->second.find("kimi-linear");
      if (mla == at->second.end() || hybrid == at->second.end()) continue;
      const Cell &slow = *mla->second, &fast = *hybrid->second;
      const bool same_memory = fast.axes.protocol == "same-memory";
      out += fmt::format("* {}, {} tokens: kimi-linear decodes **{:.2f}x** as fast as mla ({} against {} ms a token",
                         !same_memory ? "One sequence each"
                         : fast.axes.cache_budget_bytes
                             ? fmt::format("The same {} of cache", readable_bytes(double(*fast.axes.cache_budget_bytes)))
                             : "The same memory",
                         readable_tokens(at->first), slow.timing->tpot_ns / fast.timing->tpot_ns,
                         readable_ms(fast.timing->tpot_ns), readable_ms(slow.timing->tpot_ns));
      if (same_memory) out += fmt::format("; {} sequences against {}", fast.axes.batch, slow.axes.batch);
      out += ").";
      if (!same_memory && slow.memory && fast.memory && fast.memory->cache_bytes_analytic > 0)
        out += fmt::format(" Its cache takes 1/{:.2f} of the bytes.", double(slow.memory->cache_bytes_analytic) /
                                                                         double(fast.memory->cache_bytes_analytic));
      out += "\n";
      break;
    }
  }
  return out.empty() ? out : out + "\n";
}

}  // namespace

std::string markdown_results(const Report& report) {
  std::string devices;
  for (const Device& device : report.devices) devices += (devices.empty() ? "" : ", ") + device.name;
  std::string out = fmt::format(
      "{}; kdabench {}, commit {}{}, {}", devices.empty() ? report.machine.cpu : devices,
      report.meta.tool_version, report.meta.git_commit.substr(0, 12),
      report.meta.git_dirty ? " with uncommitted changes" : "", report.meta.started_utc.substr(0, 10));
  if (report.ceilings.read_bytes_per_s)
    out += fmt::format("; reads {:.2f} TB/s (measured)", *report.ceilings.read_bytes_per_s / 1e12);
  return headlines(report) + out + ".\n\n```\n" + report.meta.command + "\n```\n\n" + tables(report, TableStyle::markdown);
}

void replace_between_markers(const fs::path& file, const std::string& text) {
  std::ifstream in(file, std::ios::binary);
  if (!in)
    throw Error(
        fmt::format("{}: wanted a file with result markers, found none; check the path", file.string()));
  std::ostringstream whole;
  whole << in.rdbuf();
  const std::string old = whole.str();
  const std::string begin_marker = kResultsBegin, end_marker = kResultsEnd;
  const size_t begin = old.find(begin_marker), end = old.find(end_marker);
  const bool once = begin != std::string::npos && end != std::string::npos && begin < end &&
                    old.find(begin_marker, begin + 1) == std::string::npos &&
                    old.find(end_marker, end + 1) == std::string::npos;
  if (!once)
    throw Error(fmt::format(
        "{}: wanted one line {} and after it one line {}, found something else; put both there once",
        file.string(), begin_marker, end_marker));
  const std::string body = text.empty() || text.back() == '\n' ? text : text + "\n";
  const std::string out = old.substr(0, begin) + begin_marker + "\n" + body + old.substr(end);
  const fs::path temporary = fs::path(file) += ".tmp";
  std::ofstream target(temporary, std::ios::binary | std::ios::trunc);
  target << out;
  target.close();
  std::error_code error;
  if (target) fs::rename(temporary, file, error);
  if (!target || error)
    throw Error(
        fmt::format("{}: wanted to write the results there, found that the folder refuses it; check its "
                    "permissions",
                    file.string()));
}

std::string readable_tokens(int64_t tokens) {
  if (tokens >= 1 << 20 && tokens % (1 << 20) == 0) return fmt::format("{}M", tokens >> 20);
  if (tokens >= 1 << 10 && tokens % (1 << 10) == 0) return fmt::format("{}K", tokens >> 10);
  return fmt::format("{}", tokens);
}

std::string readable_bytes(double bytes) {
  if (bytes < 1024) return fmt::format("{:.0f} B", bytes);
  const char* unit = "B";
  for (const char* larger : {"KiB", "MiB", "GiB", "TiB"}) {
    if (bytes < 1024) break;
    bytes /= 1024;
    unit = larger;
  }
  return fmt::format("{:.{}f} {}", bytes, bytes < 10 ? 2 : bytes < 100 ? 1 : 0, unit);
}

std::string readable_ms(double ns) {
  const double ms = ns / 1e6;
  return fmt::format("{:.{}f}", ms, ms < 0.1 ? 4 : ms < 1 ? 3 : ms < 10 ? 2 : ms < 100 ? 1 : 0);
}

}  // namespace kdabench::reports
