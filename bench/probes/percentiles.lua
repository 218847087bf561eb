-- For wrk: one line of JSON at the end.
done = function(summary, latency)
  local errors = summary.errors
  if errors.connect + errors.read + errors.write + errors.status + errors.timeout > 0 then error("calls failed") end
  print(string.format('{"perSecond":%f,"p50":%f,"p99":%f}', summary.requests / (summary.duration / 1e6),
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
