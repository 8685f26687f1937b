// How many CPUs this process may use: affinity, capped by the cgroup quota (v2, then v1).
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>

#include "core/thread_pool.h"

namespace segrid {
namespace {

// The CPUs that the quota of this cgroup directory allows; 0 if there is no limit.
double quota_v2(const std::string& directory) {
    std::ifstream file(directory + "/cpu.max");
    std::string quota;
    double period = 0;
    if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
    return std::strtod(quota.c_str(), nullptr) / period;
}

double quota_v1() {
    double quota = 0, period = 0;
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
    return quota > 0 && period > 0 ? quota / period : 0;
}

// The tightest quota from this process's cgroup up to the root.
double cgroup_cpus() {
    double tightest = quota_v1();
    std::ifstream file("/proc/self/cgroup");
    std::string line;
    while (std::getline(file, line)) {
        if (line.rfind("0::", 0) != 0) continue;
        std::string path = line.substr(3);
        for (;;) {
            const double quota = quota_v2("/sys/fs/cgroup" + path);
            if (quota > 0) tightest = tightest > 0 ? std::min(tightest, quota) : quota;
            const auto slash = path.find_last_of('/');
            if (slash == std::string::npos || path.empty()) break;
            path.resize(slash);
        }
    }
    return tightest;
}

}  // namespace

int available_cpus() {
    int count = static_cast<int>(std::thread::hardware_concurrency());
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
    const double quota = cgroup_cpus();
    if (quota > 0) count = std::min(count, static_cast<int>(std::ceil(quota)));
    return std::max(count, 1);
}

}  // namespace segrid
