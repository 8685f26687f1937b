#include "models/owlv2/config.h"

#include "core/error.h"
#include "models/mask_decoder/config.h"

namespace segrid::owlv2 {
namespace {

using mask_decoder::contradiction;

Activation activation(const Config& c, const std::string& key) {
    const std::string name = c.text(key, "quick_gelu");
    if (name == "quick_gelu") return Activation::QuickGelu;
    if (name == "gelu") return Activation::Gelu;
    if (name == "relu") return Activation::Relu;
    fail(ErrorKind::Unsupported,
         c.name() + ": " + key + " is '" + name + "'; this build has quick_gelu, gelu and relu");
}

TowerConfig tower(const Config& c, const std::string& key, int64_t hidden, int64_t mlp,
                  int64_t heads) {
    TowerConfig t;
    t.hidden = c.integer(key + "hidden_size", hidden, {.low = 1, .high = 16384});
    t.mlp = c.integer(key + "intermediate_size", mlp, {.low = 1, .high = 65536});
    t.layers = c.integer(key + "num_hidden_layers", 12, {.low = 1, .high = 256});
    t.heads = c.integer(key + "num_attention_heads", heads, {.low = 1, .high = 256});
    t.activation = activation(c, key + "hidden_act");
    t.eps = static_cast<float>(c.number(key + "layer_norm_eps", 1e-5, {.low = 1e-12, .high = 1}));
    if (t.hidden % t.heads != 0)
        contradiction(c, key + "hidden_size must be a multiple of num_attention_heads");
    return t;
}

}  // namespace

Owlv2Config::Owlv2Config(const Config& c) : family(c.text("model_type")) {
    vision = tower(c, "vision_config.", 768, 3072, 12);
    text = tower(c, "text_config.", 512, 2048, 8);
    image = c.side("vision_config.image_size", 768, {.low = 1, .high = 8192});
    patch =
        c.side("vision_config.patch_size", family == "owlv2" ? 16 : 32, {.low = 1, .high = 256});
    vocabulary = c.integer("text_config.vocab_size", vocabulary, {.low = 1, .high = 10'000'000});
    length = c.integer("text_config.max_position_embeddings", length, {.low = 1, .high = 4096});
    if (patch > image || grid() > 512)
        contradiction(c, "vision_config.image_size / patch_size must be from 1 to 512");
    if (c.integer("vision_config.num_channels", 3) != 3)
        contradiction(c, "vision_config.num_channels must be 3");
    if (c.integer("projection_dim", 512) != text.hidden)
        contradiction(
            c,
            "projection_dim must equal text_config.hidden_size: queries and patches are compared");
}

}  // namespace segrid::owlv2
