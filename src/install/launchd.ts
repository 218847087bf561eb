/** The property list of a LaunchAgent or LaunchDaemon. Pure. Facts: launchd.plist(5). */
import { markerText } from './marker.ts';
import type { Plan } from './plan.ts';
import { xmlText } from './quote.ts';

const STOP_SLACK_S = 15;

export function launchdLabel(name: string): string {
  return `singlepoll.${name}`;
}

export function launchdPlist(plan: Plan): string {
  const { made, runAs, cwd, wrapperPath, logPath } = plan;
  const stopS = Math.ceil(plan.stopTimeoutMs / 1_000) + STOP_SLACK_S;
  const text = (value: string) => `<string>${xmlText(value)}</string>`;
  return `<?xml version="1.0" encoding="UTF-8"?>
<!-- ${markerText(made)} -->
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  ${text(launchdLabel(made.name))}
  <key>ProgramArguments</key>
  <array>
    <string>/bin/sh</string>
    ${text(wrapperPath)}
  </array>
  <key>WorkingDirectory</key>
  ${text(cwd)}
${runAs === null ? '' : `  <key>UserName</key>\n  ${text(runAs)}\n`}  <key>RunAtLoad</key>
  <true/>
  <!-- The script ends with 0 where to start again would cure nothing (another poller lives, token refused, configuration). -->
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ThrottleInterval</key>
  <integer>30</integer>
  <key>ExitTimeOut</key>
  <integer>${stopS}</integer>
  <key>StandardOutPath</key>
  ${text(logPath)}
  <key>StandardErrorPath</key>
  ${text(logPath)}
</dict>
</plist>
`;
}
