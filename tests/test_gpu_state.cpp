// What a cell says of the GPU: readings through a management library made for this test, and what follows from them.

#include <gtest/gtest.h>

#include <cstdlib>

#include "harness/nvml.h"
#include "suites/gpu_state.h"
#include "tests/reports_fixture.h"

namespace kdabench {
namespace {

using reports::Cell;
using reports::contains;
using suites::GpuReading;

// Set for one reading.
struct Setting {
  const char* name;
  Setting(const char* name, const char* value) : name(name) { setenv(name, value, 1); }
  ~Setting() { unsetenv(name); }
};

TEST(GpuState, AnAbsentLibraryIsAReason) {
  const Nvml nvml("", "libno-such-library.so.1");
  EXPECT_SAYS(nvml.reason(), "libno-such-library.so.1 is not there");
  const GpuReading reading = nvml.read();
  EXPECT_EQ(reading.reason, nvml.reason());
  EXPECT_FALSE(reading.power_watts || reading.energy_joules || reading.other_processes || reading.throttle_power_ns);
  EXPECT_FALSE(nvml.identity().name);
}

TEST(GpuState, WhatTheDriverDoesNotSayIsNamed) {
  const Nvml nvml("", FAKE_NVML);
  ASSERT_EQ(nvml.reason(), "");
  const GpuReading silent = nvml.read();
  EXPECT_EQ(silent.power_watts, 345.6);
  EXPECT_EQ(silent.temperature_celsius, 41);
  EXPECT_EQ(silent.throttle_thermal_ns, 0);
  EXPECT_FALSE(silent.energy_joules || silent.throttle_power_ns || silent.other_processes);
  EXPECT_EQ(silent.reason, "the driver does not say: energy, time throttled for power, processes on the GPU (not even "
                           "this one)");

  const Setting energy("FAKE_NVML_ENERGY", "123456"), throttle("FAKE_NVML_THROTTLE", "600047904"),
      processes("FAKE_NVML_PROCESSES", "3");
  const GpuReading full = nvml.read();
  EXPECT_EQ(full.reason, "");
  EXPECT_EQ(full.energy_joules, 123.456);
  EXPECT_EQ(full.throttle_power_ns, 600047904.);
  EXPECT_EQ(full.other_processes, 2) << "one of the three is this program";
}

GpuReading reading(double joules, double throttled_ns, int64_t others) {
  GpuReading out;
  out.energy_joules = joules;
  out.throttle_power_ns = throttled_ns;
  out.throttle_thermal_ns = 0;
  out.power_watts = 300;
  out.temperature_celsius = 50;
  out.other_processes = others;
  return out;
}

DecodeSamples loop(double wall_ns, std::vector<double> clocks = {1.98e9, 1.98e9}) {
  DecodeSamples samples;
  samples.wall_ns = wall_ns;
  samples.sm_clock_hz = std::move(clocks);
  samples.tokens.resize(100);
  return samples;
}

std::vector<std::string> codes(const Cell& cell) {
  std::vector<std::string> out;
  for (const reports::Reason& reason : cell.validity.reasons) out.push_back(reason.code);
  return out;
}

TEST(GpuState, EnergyWantsALongWindow) {
  Cell cell;
  suites::record_gpu_state(reading(100, 0, 0), reading(1100, 0, 0), loop(2.5e9), cell);
  ASSERT_TRUE(cell.gpu_state && cell.gpu_state->energy);
  EXPECT_EQ(cell.gpu_state->energy->joules, 1000);
  EXPECT_EQ(cell.gpu_state->energy->joules_per_token, 10);
  EXPECT_EQ(cell.gpu_state->energy->mean_watts, 400);
  EXPECT_EQ(cell.gpu_state->energy->reason, "");
  EXPECT_TRUE(codes(cell).empty());

  Cell brief;
  suites::record_gpu_state(reading(100, 0, 0), reading(110, 0, 0), loop(0.05e9), brief);
  EXPECT_FALSE(brief.gpu_state->energy->joules);
  EXPECT_SAYS(brief.gpu_state->energy->reason, "window_too_short: the loop took 0.05 s, the counter wants 2 s");
  EXPECT_EQ(brief.gpu_state->energy->window_ns, 0.05e9);

  GpuReading none = reading(0, 0, 0);
  none.energy_joules.reset();
  Cell without;
  suites::record_gpu_state(none, none, loop(3e9), without);
  EXPECT_SAYS(without.gpu_state->energy->reason, "no energy counter");
}

TEST(GpuState, DoubtBecomesAReason) {
  Cell quiet;
  suites::record_gpu_state(reading(0, 5e8, 0), reading(0, 5e8, 0), loop(1e9), quiet);
  EXPECT_TRUE(codes(quiet).empty());
  EXPECT_EQ(quiet.gpu_state->throttle_power_ns, 0) << "counters are differences";

  Cell loud;
  suites::record_gpu_state(reading(0, 5e8, 0), reading(0, 6e8, 2), loop(1e9, {1.98e9, 1.98e9, 1.2e9}), loud);
  EXPECT_EQ(codes(loud), (std::vector<std::string>{"clock_unsteady", "throttled_power", "other_processes"}));
  EXPECT_EQ(loud.gpu_state->sm_clock_hz_min, 1.2e9);

  Cell cpu;
  suites::record_gpu_state({}, {}, loop(1e9), cpu);
  EXPECT_FALSE(cpu.gpu_state) << "no GPU, no block";
  GpuReading absent;
  absent.reason = "libnvidia-ml.so.1 is not there";
  Cell blind;
  suites::record_gpu_state(absent, absent, loop(1e9, {}), blind);
  EXPECT_EQ(blind.gpu_state->reason, "libnvidia-ml.so.1 is not there; no SM clock: device timers gave none");
  EXPECT_FALSE(blind.gpu_state->power_watts || blind.gpu_state->throttle_power_ns || blind.gpu_state->other_processes);
}

TEST(GpuState, LaunchesAreCountedOrExplained) {
  Cell cell;
  DecodeSamples samples = loop(1e9);
  suites::record_launches(samples, cell);
  EXPECT_FALSE(cell.launches->kernels_per_step);
  EXPECT_SAYS(cell.launches->reason, "no CUDA graph");
  samples.kernels = 321;
  suites::record_launches(samples, cell);
  EXPECT_EQ(cell.launches->kernels_per_step, 321);
  EXPECT_EQ(cell.launches->reason, "");
}

}  // namespace
}  // namespace kdabench
