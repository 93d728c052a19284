<?php
// Speaks with server.rb by lines, and gets a file from PHP's own web server; says "done".
[, $host, $echo, $web, $path, $digest] = $argv;
$socket = stream_socket_client("tcp://$host:$echo");
for ($i = 0; $i < 100; $i++) {
    fwrite($socket, "line $i\n");
    if (fgets($socket) !== "LINE $i\n") {
        exit(1);
    }
}
if (hash('sha256', file_get_contents("http://$host:$web/$path")) !== $digest) {
    exit(2);
}
if (@stream_socket_client("tcp://$host:9", $code) !== false || $code !== 111) {
    exit(3);
}
echo "done\n";
