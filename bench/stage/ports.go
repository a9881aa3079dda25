package stage

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// freePorts finds n ports on loopback that nobody has, for TCP and UDP. They are
// below those that kernels give to outgoing connections, so that one is still
// free when a killed server comes back to it.
func freePorts(n int) ([]int, error) {
	const low, high = 20_000, 32_000
	taken := make(map[int]bool)
	var ports []int
	for range high - low {
		port := low + rand.IntN(high-low)
		if !taken[port] && free(port) {
			ports = append(ports, port)
		}
		taken[port] = true
		if len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("found only %d free ports of %d between %d and %d", len(ports), n, low, high)
}

func free(port int) bool {
	tcp, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", loopback(port))
	if err != nil {
		return false
	}
	udp.Close()
	return true
}
