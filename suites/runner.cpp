#include "suites/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>

#include "harness/engine/nvtx.h"

namespace kdabench::suites {
namespace {

SessionBytes predict_on(Model& model, const Suite& suite, const Plan& plan, int64_t context, int64_t batch) {
  return model.predict(suite.session(plan, context, batch));
}

void measure(const Task& task, Model& model, const Plan& plan, const reports::Ceilings& ceilings, Host& host,
             reports::Cell& cell) {
  const NvtxRange range(cell.id.c_str());
  Bench bench{model, *task.peer, plan, ceilings, host, Deadline(plan.timeout_s)};
  try {
    if (task.suite->scores()) {
      cell.status = "ok";
      return task.suite->measure(bench, cell);
    }
    const Fit room = fit(task.point, [&](int64_t batch) {
      return predict_on(model, *task.suite, plan, task.point.context, batch);
    }, device_memory(plan.device));
    cell.axes.batch = room.batch;
    if (!room.fits) {
      if (!task.point.same_memory()) cell.axes.batch = task.point.batch;
      cell.memory = analytic_memory(plan, *task.peer, cell.axes);
      cell.memory->reason = "nothing was allocated";
      return end(cell, "oom", room.reason);
    }
    if (task.point.same_memory()) cell.validity.reasons.push_back({"largest_batch", room.reason});
    cell.status = "ok";
    task.suite->measure(bench, cell);
  } catch (const OutOfMemory& error) {
    end(cell, "oom", error.what());
  } catch (const std::bad_alloc&) {
    end(cell, "oom", "The host refused an allocation that was predicted to fit.");
  } catch (const Timeout& error) {
    end(cell, "timeout", error.what());
  } catch (const std::exception& error) {
    end(cell, "error", error.what());
  }
}

}  // namespace

Plan plan_of(const Plan& plan, const Peer& peer) {
  Plan own = plan;
  if (peer.config) own.config = *peer.config;
  return own;
}

ModelOptions model_options(const Plan& plan, const Peer& peer) {
  ModelOptions options;
  options.config = peer.config.value_or(plan.config);
  options.layout = peer.layout;
  options.checkpoint = peer.checkpoint;
  options.device = plan.device;
  options.precision = plan.precision;
  options.seed = plan.seed;
  return options;
}

std::vector<Task> tasks(const std::vector<const Suite*>& suites, const Plan& plan) {
  std::vector<Task> result;
  for (const Peer& peer : plan.peers)
    for (const Suite* suite : suites)
      for (const Point& point : suite->points ? suite->points(plan) : plan.points) {
        reports::Cell cell;
        cell.suite = suite->name;
        reports::Axes& axes = cell.axes;
        axes.model = peer.name;
        axes.config = peer.config.value_or(plan.config).name;
        axes.device = device_name(plan.device);
        axes.dtype = precision_name(plan.precision);
        axes.protocol = point.same_memory() ? "same-memory" : "same-batch";
        axes.fill = plan.fill;
        axes.context = point.context;
        axes.batch = point.batch;
        axes.steps = plan.steps;
        axes.cache_budget_bytes = point.cache_budget_bytes;
        if (!point.task.empty()) axes.task = point.task;
        if (!suite->fill.empty()) axes.fill = suite->fill;
        if (suite->scores()) {
          axes.protocol = "accuracy";
          axes.fill = "prompts";
          axes.steps = axes.batch = 0;
        }
        cell.id = reports::cell_id(cell.suite, axes);
        result.push_back({suite, &peer, point, cell});
      }
  return result;
}

double floor_ns(const StepCost& cost, double read_bytes_per_s, double gemm_flops_per_s) {
  const auto seconds = [](int64_t amount, double rate) { return rate > 0 ? static_cast<double>(amount) / rate : 0; };
  return 1e9 * std::max(seconds(cost.bytes(), read_bytes_per_s), seconds(cost.flops, gemm_flops_per_s));
}

reports::Memory analytic_memory(const Plan& plan, const Peer& peer, const reports::Axes& axes) {
  const NumberBytes bytes = number_bytes(plan.precision);
  reports::Memory memory;
  memory.parameters = parameter_count(plan.config, peer.layout);
  memory.weight_bytes = weight_bytes(plan.config, peer.layout, bytes);
  memory.cache_bytes_per_token = cache_bytes_per_token(plan.config, peer.layout, bytes);
  memory.state_bytes_per_sequence = state_bytes_per_sequence(plan.config, peer.layout, bytes);
  memory.cache_bytes_analytic = cache_bytes(plan.config, peer.layout, bytes, axes.batch, axes.context);
  return memory;
}

std::vector<Forecast> forecast(const std::vector<const Suite*>& suites, const Plan& plan, const DeviceFacts& device) {
  const NumberBytes bytes = number_bytes(plan.precision);
  std::vector<Forecast> result;
  for (Task& task : tasks(suites, plan)) {
    Forecast row;
    row.task = std::move(task);
    const Suite& suite = *row.task.suite;
    if (suite.scores()) continue;            // see Suite::workload
    const Peer& peer = *row.task.peer;
    const Plan own = plan_of(plan, peer);
    const int64_t context = row.task.point.context;
    row.weight_bytes = weight_bytes(own.config, peer.layout, bytes);
    DeviceMemoryState memory = device.memory;
    memory.free_bytes -= row.weight_bytes;
    if (memory.free_bytes < 0) {
      row.fit.available = device.memory.free_bytes;
      row.fit.reason = fmt::format("The weights alone take {:.2f} GB; the device has {:.2f} GB.",
                                   static_cast<double>(row.weight_bytes) * 1e-9,
                                   static_cast<double>(device.memory.free_bytes) * 1e-9);
    } else {
      const ModelOptions options = model_options(plan, peer);
      row.fit = fit(row.task.point, [&](int64_t batch) {
        return predict_session(options, suite.session(own, context, batch));
      }, memory);
    }
    const int64_t batch = std::max<int64_t>(1, row.fit.fits ? row.fit.batch : row.task.point.batch);
    row.task.cell.axes.batch = batch;
    row.cost = suite.cost ? suite.cost(own, peer, context, batch)
                          : decode_cost(own.config, peer.layout, bytes, batch, context + (plan.steps - 1) / 2,
                                        expected_distinct_experts(own.config, batch));
    if (suite.seconds && row.fit.fits && device.gemm_flops_per_s > 0)
      row.seconds = suite.seconds(own, peer, context, batch, device.gemm_flops_per_s);
    row.floor_ns = floor_ns(row.cost, device.read_bytes_per_s, device.gemm_flops_per_s);
    result.push_back(std::move(row));
  }
  return result;
}

void run(const std::vector<const Suite*>& suites, const Plan& plan, const reports::Ceilings& ceilings, Host& host) {
  std::vector<Task> all = tasks(suites, plan);
  for (const Peer& peer : plan.peers) {
    std::vector<Task*> left;
    for (Task& task : all)
      if (task.peer == &peer && !host.finished_before(task.cell.id)) left.push_back(&task);
    if (left.empty()) continue;

    const auto end_all = [&](const std::string& status, const std::string& reason) {
      for (Task* task : left) {
        end(task->cell, status, reason);
        host.finished(task->cell);
      }
    };
    const Plan own = plan_of(plan, peer);
    std::unique_ptr<Model> model;
    try {
      host.starting("weights of " + peer.name);
      ModelOptions options = model_options(plan, peer);
      options.progress = [&host](const std::string& what, double fraction) { host.progress(what, fraction); };
      model = make_model(options);
    } catch (const OutOfMemory& error) {
      end_all("oom", error.what());
      continue;
    } catch (const std::bad_alloc&) {
      end_all("oom", "The host has no room for the weights.");
      continue;
    } catch (const Error& error) {
      end_all("error", error.what());
      continue;
    }
    for (Task* task : left) {
      host.starting(task->cell.id);
      measure(*task, *model, own, ceilings, host, task->cell);
      host.finished(task->cell);
    }
  }
}

}  // namespace kdabench::suites
