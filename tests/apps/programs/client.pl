# Speaks with server.rb by lines, through streams of PerlIO and select; says "done".
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;

my $socket = IO::Socket::INET->new(PeerAddr => "$ARGV[0]:$ARGV[1]") or die "connect: $@";
for my $i (1 .. 100) {
    print $socket "line $i\n";
    die "nothing to read" unless IO::Select->new($socket)->can_read(20);
    die "another line" unless <$socket> eq "LINE $i\n";
}
$socket->shutdown(1);
die "more" if defined <$socket>;
die "connected" if IO::Socket::INET->new(PeerAddr => "$ARGV[0]:9");
die "not refused: $!" unless $!{ECONNREFUSED};
print "done\n";
