-- Asks what the environment says and reports what came of it as one line of JSON.
wrk.method = os.getenv("BENCH_METHOD")
if os.getenv("BENCH_BODY") ~= "" then
  local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
  wrk.body = file:read("*a")
  file:close()
end
for line in (os.getenv("BENCH_HEADERS") or ""):gmatch("[^\n]+") do
  local name, value = line:match("^(.-): (.*)$")
  wrk.headers[name] = value
end

-- A mix of paths, one after the other, if there is one.
local paths = {}
for path in (os.getenv("BENCH_PATHS") or ""):gmatch("[^\n]+") do paths[#paths + 1] = path end
if #paths > 0 then
  local at = 0
  request = function()
    at = at % #paths + 1
    return wrk.format(nil, paths[at])
  end
end

done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "broken": %d, "refused": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
