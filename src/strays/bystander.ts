/**
 * Programs that are never strays, whatever their environment and arguments are, by exact name. PURE.
 * Shells, editors, pagers, log followers and terminals belong to people; init systems and process managers belong to
 * the machine: one above a stray is named (its respawner), never stopped. Proxies and stores carry other programs' data.
 */
import type { Proc } from './process.ts';
import { baseName, isShellName, type Program, readProgram } from './program.ts';

type Bystander = 'shell' | 'editor' | 'reader' | 'terminal' | 'manager' | 'proxy' | 'browser' | 'singlepoll';

export function namesIn(text: string): ReadonlySet<string> {
  return new Set(text.split(/\s+/).filter(Boolean));
}

const EDITORS =
  namesIn(`vi vim vim.basic vim.tiny vimx gvim nvim view vimdiff ex ed red nano rnano pico emacs emacsclient
  emacs-nox emacs-gtk micro hx helix kak joe jmacs jed ne mcedit mc ranger code code-server code-insiders codium cursor subl
  sublime_text gedit kate kwrite mousepad xed geany pluma atom zed`);
const READERS =
  namesIn(`less more most lv pg bat batcat tail head cat tac zless zcat multitail lnav journalctl grep egrep
  fgrep zgrep rg ag ack awk gawk mawk nawk sed tee inotifywait diff vimpager man htop top btop atop ps strace ltrace gdb
  lldb py-spy perf fzf jq`);
const TERMINALS =
  namesIn(`tmux screen SCREEN zellij byobu dtach abduco mosh-server mosh-client sshd sshd-session sshd-auth dropbear ssh login
  getty agetty xterm konsole gnome-terminal gnome-terminal-server alacritty kitty wezterm wezterm-gui foot ttyd wetty gotty
  terminator tilix xfce4-terminal dbus-daemon gnome-shell plasmashell Xorg`);
const MANAGERS =
  namesIn(`init systemd systemd-executor launchd openrc supervise-daemon supervisord runit runsvdir runsv s6-svscan s6-supervise
  s6-linux-init-shutdownd s6-rc-oneshot-run cron crond anacron atd fcron dcron busybox-crond docker dockerd containerd
  containerd-shim containerd-shim-runc-v2 docker-init conmon podman runc crun tini tini-static dumb-init catatonit
  kubelet crio lxc-start pm2 pm2-runtime PM2 monit god bluepill circusd forever immortal process-compose overmind nomad consul
  process_api daemontools supervise svscan upstart unitd`);

/** They carry or store other programs' data, so they receive something whenever a poller does. */
const PROXIES =
  namesIn(`squid squid3 nginx haproxy envoy traefik caddy apache2 httpd varnishd tinyproxy privoxy polipo sockd danted 3proxy stunnel
  stunnel4 socat ncat nc cloudflared frpc frps ngrok tor v2ray xray sing-box ss-local sslocal redsocks mitmdump mitmproxy mitmweb
  docker-proxy rootlesskit slirp4netns passt pasta gost chisel wstunnel telegram-bot-api redis-server valkey-server keydb-server memcached
  mongod mysqld mariadbd postgres rsyslogd syslog-ng vector fluent-bit fluentd filebeat promtail otelcol`);

/** A person may look at the API with one, or a bot may control one. */
const BROWSERS =
  namesIn(`chrome chromium chromium-browser google-chrome headless_shell chrome_crashpad_handler chromedriver firefox firefox-bin
  firefox-esr geckodriver msedge brave opera vivaldi epiphany falkon MiniBrowser WebKitWebProcess WebKitNetworkProcess`);

/** Managers that are scripts; only these, as a bot may also be called `init.py`. */
const SCRIPT_MANAGERS = namesIn('supervisord pm2 pm2-runtime circusd');

/** The kind of bystander that a program is; null: it may be a stray. */
export function bystander({ argv, comm }: Pick<Proc, 'argv' | 'comm'>): Bystander | null {
  const program = readProgram(argv, comm);
  if (isSinglepoll(program)) return 'singlepoll';
  const name = program.name;
  if (isShellName(name)) return 'shell';
  if (EDITORS.has(name)) return 'editor';
  if (READERS.has(name)) return 'reader';
  if (TERMINALS.has(name) || comm.startsWith('tmux:')) return 'terminal';
  if (PROXIES.has(name)) return 'proxy';
  if (BROWSERS.has(name)) return 'browser';
  if (MANAGERS.has(name)) return 'manager';
  // An interpreter may run one of them: `python3 /usr/bin/supervisord`, `node …/bin/pm2`.
  const script = program.scripts[0];
  if (script !== undefined) {
    const base = baseName(script).replace(/\.(?:[cm]?js|py|rb)$/, '');
    if (PROXIES.has(base)) return 'proxy';
    if (SCRIPT_MANAGERS.has(base)) return 'manager';
    if (/\/\.?(?:vscode|cursor)(?:-server|-remote)?\//.test(script)) return 'editor';
  }
  return null;
}

export function isSinglepoll(program: Program): boolean {
  if (program.name === 'singlepoll') return true;
  return program.scripts.some(
    (script) =>
      /(?:^|\/)singlepoll(?:\.c?js)?$/.test(script) ||
      /(?:^|\/)singlepoll\/(?:dist|bin|src|src\/strays)\/(?:cli|inspector-child)\.(?:cjs|js|ts)$/.test(
        script,
      ),
  );
}

/**
 * True for a shell that a person types into: without script and `-c`, or with `-i`. A shell that runs a script or
 * one command belongs to that.
 */
export function isInteractiveShell(argv: readonly string[]): boolean {
  const [shell = '', ...words] = argv;
  if (shell.startsWith('-')) return true;
  if (baseName(shell) === 'busybox') words.shift();
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (/^(?:-\w*i\w*|--interactive)$/.test(word)) return true;
    if (/^(?:[-+][oO]|--rcfile|--init-file)$/.test(word)) words.shift();
    else if (word === '--') return words.length === 0;
    else if (/^-\w*c/.test(word) || !/^[-+]./.test(word)) return false;
  }
  return true;
}
