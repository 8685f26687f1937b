// config.json and segrid.json: typed, checked reads of a JSON object.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include <memory>

namespace segrid {

inline constexpr std::size_t kMaxConfigBytes = 16'000'000;
inline constexpr int kMaxConfigDepth = 32;

// The range of a number; both ends inclusive.
struct IntegerRange {
    int64_t low = std::numeric_limits<int64_t>::min();
    int64_t high = std::numeric_limits<int64_t>::max();
};
struct NumberRange {
    double low = -std::numeric_limits<double>::infinity();
    double high = std::numeric_limits<double>::infinity();
};

// Immutable; copies share the document. Keys are dotted paths such as "vision_config.hidden_size".
// A key that is missing, null, or below something missing gives the fallback; without a fallback it
// is a Corrupt error. A value of another type or outside its range is also a Corrupt error. Errors
// name the file and the key.
class Config {
public:
    static Config read(const std::string& path);
    static Config parse(const std::string& text, const std::string& name);

    int64_t integer(const std::string& key, std::optional<int64_t> fallback = {},
                    IntegerRange range = {}) const;
    // Reads a number n, or two equal ones [n, n].
    int64_t side(const std::string& key, std::optional<int64_t> fallback = {},
                 IntegerRange range = {}) const;
    double number(const std::string& key, std::optional<double> fallback = {},
                  NumberRange range = {}) const;
    std::string text(const std::string& key, std::optional<std::string> fallback = {}) const;
    bool boolean(const std::string& key, std::optional<bool> fallback = {}) const;
    std::vector<int64_t> integers(const std::string& key,
                                  std::optional<std::vector<int64_t>> fallback = {},
                                  IntegerRange range = {}) const;
    const std::string& name() const { return name_; }

private:
    Config(std::shared_ptr<const nlohmann::json> document, std::string name);
    const nlohmann::json* find(const std::string& key) const;
    [[noreturn]] void wrong(const std::string& key, const std::string& rule,
                            const nlohmann::json& got) const;
    [[noreturn]] void missing(const std::string& key) const;
    int64_t checked(const std::string& key, const nlohmann::json& value, IntegerRange range) const;
    double checked(const std::string& key, const nlohmann::json& value, NumberRange range) const;

    std::shared_ptr<const nlohmann::json> document_;
    std::string name_;
};

}  // namespace segrid
