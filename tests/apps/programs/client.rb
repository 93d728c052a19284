# Speaks with server.rb by lines, in ten threads at once; says "done".
require 'socket'

threads = (0...10).map do |number|
  Thread.new do
    socket = TCPSocket.new(ARGV[0], ARGV[1].to_i)
    100.times do |i|
      socket.puts("line #{number} #{i}")
      raise 'another line' unless socket.gets == "LINE #{number} #{i}\n"
    end
    socket.close_write
    raise 'more' unless socket.read == ''
  end
end
threads.each(&:join)
begin
  TCPSocket.new(ARGV[0], 9)
  raise 'connected'
rescue Errno::ECONNREFUSED
  puts 'done'
end
