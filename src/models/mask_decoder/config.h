// The parts of a config.json that the SAM families share: mask_decoder_config and
// prompt_encoder_config, as transformers writes them.
#pragma once

#include "models/mask_decoder/mask_decoder.h"
#include "models/mask_decoder/prompt_encoder.h"
#include "weights/config.h"

namespace segrid::mask_decoder {

// Both throw Corrupt, naming the key, if a value is outside its plausible range or if two values
// contradict each other.
DecoderShape read_decoder(const Config& config);
// side: of the model's square, in pixels. grid: number of image tokens along it. dim: their
// channels.
PromptShape read_prompt(const Config& config, int64_t side, int64_t grid, int64_t dim);

// Throws Corrupt, naming the key, unless value is from low to high.
void check_range(const Config& config, const char* key, int64_t value, int64_t low, int64_t high);
// A layer norm's epsilon.
float read_eps(const Config& config, const std::string& key);
// Throws Unsupported, naming the key, unless the activation that it names is `only`.
void check_activation(const Config& config, const std::string& key, const char* only);
// Throws Corrupt with the config's name and the rule that it breaks.
[[noreturn]] void contradiction(const Config& config, const std::string& what);

}  // namespace segrid::mask_decoder
