// What every model is loaded from, and how it is known afterwards.
#pragma once

#include <string>

namespace segrid {

struct ModelSettings {
    std::string config_path, weights_path;
    std::string settings_path;         // segrid.json, or empty
    std::string device = "auto";       // auto | cpu
    std::string precision = "auto";    // see resolve_precision
    int threads = 0;                   // most workers one call may use; 0: the whole budget
};

// Throws Unsupported for devices that this build lacks, InvalidInput for unknown ones and for a number of threads below 0.
void check_settings(const ModelSettings& settings);

// Hash of config and weights: equal files give equal ids on every machine.
std::string identify(const std::string& config_path, const std::string& weights_path);

}  // namespace segrid
