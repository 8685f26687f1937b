#include "weights/config.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"

namespace segrid {
namespace {

namespace fs = std::filesystem;

std::string excerpt(const nlohmann::json& value) {
    return value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace).substr(0, 60);
}

}  // namespace

Config::Config(std::shared_ptr<const nlohmann::json> document, std::string name)
    : document_(std::move(document)), name_(std::move(name)) {}

Config Config::read(const std::string& path) {
    std::error_code error;
    if (fs::is_directory(path, error)) fail(ErrorKind::IsADirectory, path + ": is a directory");
    if (!fs::exists(path, error)) fail(ErrorKind::NotFound, path + ": no such file");
    std::ifstream file(path, std::ios::binary);
    if (!file) fail(ErrorKind::PermissionDenied, path + ": no permission to read");
    if (fs::file_size(path, error) > kMaxConfigBytes) {
        fail(ErrorKind::Corrupt,
             path + ": larger than " + human_bytes(kMaxConfigBytes) + ", so not a config");
    }
    std::stringstream text;
    text << file.rdbuf();
    return parse(text.str(), path);
}

Config Config::parse(const std::string& text, const std::string& name) {
    if (text.empty()) fail(ErrorKind::Corrupt, "empty file: " + name);
    const auto callback = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
        if (depth > kMaxConfigDepth) fail(ErrorKind::Corrupt, name + ": nested too deeply");
        return true;
    };
    auto document = std::make_shared<nlohmann::json>(nlohmann::json::parse(text, callback, false));
    if (document->is_discarded() || !document->is_object())
        fail(ErrorKind::Corrupt, name + ": is not a JSON object");
    return {std::move(document), name};
}

const nlohmann::json* Config::find(const std::string& key) const {
    const nlohmann::json* at = document_.get();
    std::stringstream parts(key);
    for (std::string part; std::getline(parts, part, '.');) {
        if (!at->is_object()) return nullptr;
        const auto found = at->find(part);
        if (found == at->end() || found->is_null()) return nullptr;
        at = &*found;
    }
    return at;
}

void Config::wrong(const std::string& key, const std::string& rule,
                   const nlohmann::json& got) const {
    fail(ErrorKind::Corrupt, name_ + ": " + key + " must be " + rule + ", got " + excerpt(got));
}
void Config::missing(const std::string& key) const {
    fail(ErrorKind::Corrupt, name_ + ": has no " + key);
}

int64_t Config::checked(const std::string& key, const nlohmann::json& value,
                        IntegerRange range) const {
    if (!value.is_number_integer() ||
        (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))) {
        wrong(key, "a whole number", value);
    }
    const auto v = value.get<int64_t>();
    if (v < range.low || v > range.high)
        wrong(key, "from " + std::to_string(range.low) + " to " + std::to_string(range.high),
              value);
    return v;
}

double Config::checked(const std::string& key, const nlohmann::json& value,
                       NumberRange range) const {
    if (!value.is_number()) wrong(key, "a number", value);
    const auto v = value.get<double>();
    if (!std::isfinite(v) || v < range.low || v > range.high) {
        wrong(key, "from " + std::to_string(range.low) + " to " + std::to_string(range.high),
              value);
    }
    return v;
}

int64_t Config::integer(const std::string& key, std::optional<int64_t> fallback,
                        IntegerRange range) const {
    if (const auto* value = find(key)) return checked(key, *value, range);
    if (!fallback) missing(key);
    return *fallback;
}

int64_t Config::side(const std::string& key, std::optional<int64_t> fallback,
                     IntegerRange range) const {
    const auto* value = find(key);
    if (value == nullptr || !value->is_array()) return integer(key, fallback, range);
    const auto both = integers(key, {}, range);
    if (both.size() != 2 || both[0] != both[1])
        wrong(key, "a whole number or two equal ones", *value);
    return both[0];
}

double Config::number(const std::string& key, std::optional<double> fallback,
                      NumberRange range) const {
    if (const auto* value = find(key)) return checked(key, *value, range);
    if (!fallback) missing(key);
    return *fallback;
}

std::string Config::text(const std::string& key, std::optional<std::string> fallback) const {
    if (const auto* value = find(key)) {
        if (!value->is_string()) wrong(key, "text", *value);
        return value->get<std::string>();
    }
    if (!fallback) missing(key);
    return *fallback;
}

bool Config::boolean(const std::string& key, std::optional<bool> fallback) const {
    if (const auto* value = find(key)) {
        if (!value->is_boolean()) wrong(key, "true or false", *value);
        return value->get<bool>();
    }
    if (!fallback) missing(key);
    return *fallback;
}

std::vector<int64_t> Config::integers(const std::string& key,
                                      std::optional<std::vector<int64_t>> fallback,
                                      IntegerRange range) const {
    if (const auto* value = find(key)) {
        if (!value->is_array()) wrong(key, "a list of whole numbers", *value);
        std::vector<int64_t> out;
        for (const auto& item : *value) out.push_back(checked(key, item, range));
        return out;
    }
    if (!fallback) missing(key);
    return *fallback;
}

}  // namespace segrid
