<?php
// singlepoll has PHP run this file first (auto_prepend_file). It makes singlepoll's gateway the proxy of this program: calls to
// api.telegram.org are served by the gateway, which keeps the bot to one poll at a time and passes every call on; calls to any other
// host pass through untouched. Then it runs the auto_prepend_file of the user's own. `singlepoll start --intercept off` keeps it out.

/**
 * Older PHP keeps the name of the first host that it reached through a proxy for all later calls (bug 74796). So each call gets the name of
 * its own URL: at each handshake PHP asks for `cafile`, and after that for `peer_name`. It replaces an object by the text that this gives,
 * so each of the two puts the other one in its place.
 */
final class SinglepollTlsOption
{
    private static $redirected = null;
    private $host;

    public function __construct($name, $host = null)
    {
        $this->host = $host;
        stream_context_set_option(stream_context_get_default(), 'ssl', $name, $this);
    }

    public static function begin()
    {
        new self('cafile');
        stream_context_set_params(stream_context_get_default(), ['notification' => function ($code, $severity, $message) {
            if ($code === STREAM_NOTIFY_REDIRECTED) {
                self::$redirected = $message;
            } elseif ($code === STREAM_NOTIFY_CONNECT) {
                new self('cafile');
            }
        }]);
    }

    public function __toString()
    {
        if ($this->host !== null) {
            new self('cafile');
            return $this->host;
        }
        $words = [self::$redirected];
        self::$redirected = null;
        foreach (debug_backtrace() as $call) {
            $words = array_merge($words, $call['args'] ?? []);
        }
        foreach ($words as $word) {
            if (is_string($word) && preg_match('~^(?:https|ssl|tls[\\w.]*)://(?:[^/?#]*@)?([^/?#:]+)~i', $word, $found)) {
                new self('peer_name', $found[1]);
                break;
            }
        }
        return ini_get('openssl.cafile');
    }
}

(static function () {
    $parts = explode(':', (string) getenv('SINGLEPOLL_HOOK'));
    $stat = count($parts) === 4 ? (string) @file_get_contents("/proc/{$parts[1]}/stat") : '';
    $fields = explode(' ', (string) substr($stat, (int) strrpos($stat, ')') + 2));
    $isAlive = $fields[0] !== 'Z' && ($fields[19] ?? '') === ($parts[2] ?? null);
    // Whatever outlives singlepoll, of which a zombie may stay, has to reach api.telegram.org itself, and a proxy of the user's own stays.
    if (!$isAlive || getenv('https_proxy') || getenv('HTTPS_PROXY')) {
        return;
    }
    // libcurl reads it at each transfer.
    putenv("https_proxy=http://127.0.0.1:{$parts[0]}");
    // For file_get_contents. Calls over plain HTTP take this way, too; the gateway passes them on.
    stream_context_set_default(['http' => ['proxy' => "tcp://127.0.0.1:{$parts[0]}"]]);
    if (PHP_VERSION_ID < 80500 && ini_get('openssl.cafile')) {
        SinglepollTlsOption::begin();
    }
})();

// The ini files that PHP read, in their order, less ours: what the last of them says would have been run.
foreach ((static function () {
    $own = '';
    $files = array_merge([(string) php_ini_loaded_file()], explode(',', (string) php_ini_scanned_files()));
    foreach (array_filter(array_map('trim', $files)) as $file) {
        $settings = basename($file) === 'singlepoll-hook.ini' ? false : @parse_ini_file($file, false, INI_SCANNER_RAW);
        $own = is_array($settings) && isset($settings['auto_prepend_file']) ? $settings['auto_prepend_file'] : $own;
    }
    return $own === '' ? [] : [$own];
})() as $singlepollFile) {
    require $singlepollFile;
}
unset($singlepollFile);
