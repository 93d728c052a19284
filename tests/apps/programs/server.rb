# Gives each line back in capitals, with a thread for each connection.
require 'socket'

server = TCPServer.new('0.0.0.0', ARGV[0].to_i)
loop do
  Thread.new(server.accept) do |connection|
    while (line = connection.gets)
      connection.write(line.upcase)
    end
    connection.close
  end
end
