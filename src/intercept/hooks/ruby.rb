# singlepoll loads this file into Ruby programs that run under it (RUBYOPT=-r). It leads their connections to api.telegram.org, port 443,
# to singlepoll's gateway on this machine, which keeps the bot to one poll at a time and passes every call on. Nothing else is touched.
# Any Ruby may load it, hence the old syntax. `singlepoll start --intercept off` keeps it out.
begin
  port, pid, start_time, der = (ENV['SINGLEPOLL_HOOK'] || '').split(':')
  if der
    require 'socket'

    module SinglepollHook
      HOST = 'api.telegram.org'.freeze

      class << self
        attr_accessor :port, :pid, :start_time, :der

        def ours?(host, port)
          host.to_s.downcase.chomp('.') == HOST && %w[443 https].include?(port.to_s) && alive?
        end

        # Whatever outlives singlepoll, of which a zombie may stay, has to reach api.telegram.org itself.
        def alive?
          stat = File.read("/proc/#{pid}/stat")
          fields = stat[(stat.rindex(')') + 2)..-1].split(' ')
          fields[0] != 'Z' && fields[19] == start_time
        rescue SystemCallError
          false
        end

        def mark(socket)
          unless @trusting
            require 'openssl'
            OpenSSL::SSL::SSLSocket.prepend(Trust)
            @trusting = true
          end
          socket.instance_variable_set(:@singlepoll_hook, true)
          socket
        end

        # Trusts the gateway and nobody else.
        def context
          store = OpenSSL::X509::Store.new
          store.add_cert(OpenSSL::X509::Certificate.new(der.unpack('m').first))
          context = OpenSSL::SSL::SSLContext.new
          context.cert_store = store
          context.verify_mode = OpenSSL::SSL::VERIFY_PEER
          context
        end
      end

      module Connection
        def initialize(host, port = nil, *rest)
          return super unless SinglepollHook.ours?(host, port)

          super('127.0.0.1', SinglepollHook.port)
          SinglepollHook.mark(self)
        end
        ruby2_keywords(:initialize) if respond_to?(:ruby2_keywords, true)
      end

      module Connecting
        def tcp(host, port, *rest)
          return super unless SinglepollHook.ours?(host, port)

          SinglepollHook.mark(super('127.0.0.1', SinglepollHook.port))
        end
        ruby2_keywords(:tcp) if respond_to?(:ruby2_keywords, true)
      end

      module Trust
        def initialize(io, *rest)
          io.instance_variable_get(:@singlepoll_hook) ? super(io, SinglepollHook.context) : super
        end
      end
    end

    SinglepollHook.port = Integer(port)
    SinglepollHook.pid = pid
    SinglepollHook.start_time = start_time
    SinglepollHook.der = der
    if SinglepollHook.alive?
      TCPSocket.prepend(SinglepollHook::Connection)
      Socket.singleton_class.prepend(SinglepollHook::Connecting)
    end
  end
rescue StandardError, LoadError
  # The program comes first.
end
