// SPDX-License-Identifier: MIT
#include "weight_file.hpp"

#include <qwha/base/error.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/io/convert.hpp>
#include <qwha/io/message.hpp>

namespace engine {
namespace {

void check_finite(const std::string& file, const std::string& tensor, std::size_t first, rows_view<const float> rows) {
  if (const std::size_t r = qwha::first_non_finite_row(rows); r != rows.rows)
    throw qwha::format_error(file + ": tensor " + qwha::io::quoted_name(tensor) + ": row " + std::to_string(first + r) +
                             " holds NaN or infinity");
}

// A matrix that stays in the mapped file.
class file_weights final : public weight_source {
 public:
  file_weights(std::shared_ptr<const void> keep_open, std::string file, const qwha::io::tensor& t)
      : keep_open_(std::move(keep_open)), file_(std::move(file)), tensor_(t) {}
  std::size_t rows() const noexcept override { return tensor_.rows(); }
  std::size_t cols() const noexcept override { return tensor_.cols(); }
  std::size_t size_bytes() const noexcept override { return tensor_.bytes.size(); }
  void read(std::size_t first, rows_view<float> out) const override {
    qwha::io::read_rows(file_, tensor_, first, out, executor::serial());
    check_finite(file_, tensor_.name, first, out);
  }

 private:
  std::shared_ptr<const void> keep_open_;
  std::string file_;
  qwha::io::tensor tensor_;
};

}  // namespace

weight_file::weight_file(const std::filesystem::path& path) : name_(path.string()) {
  if (std::filesystem::is_directory(path))
    safetensors_ = std::make_shared<const qwha::io::safetensors_file>(path);
  else
    gguf_ = std::make_shared<const qwha::io::gguf_file>(path);
}

bool weight_file::has(std::string_view tensor) const {
  return gguf_ ? gguf_->contains(tensor) : safetensors_->contains(tensor);
}

const qwha::io::tensor& weight_file::at(std::string_view tensor) const {
  return gguf_ ? gguf_->at(tensor) : safetensors_->at(tensor);
}

const qwha::io::tensor& weight_file::at(std::string_view tensor, std::size_t rows, std::size_t cols) const {
  const qwha::io::tensor& t = at(tensor);
  const bool is_vector = rows == 1 && t.shape.size() == 1;
  if (t.cols() != cols || !(is_vector || (t.shape.size() == 2 && t.rows() == rows)))
    throw qwha::format_error(name_ + ": tensor " + qwha::io::quoted_name(tensor) + " has the shape " +
                             qwha::io::shape_text(t.shape) + ", the model's configuration asks for [" +
                             (rows == 1 ? "" : std::to_string(rows) + ", ") + std::to_string(cols) + "]");
  if (!qwha::io::convertible(t.dtype))
    throw qwha::format_error(name_ + ": tensor " + qwha::io::quoted_name(tensor) + " is of type " +
                             std::string(qwha::io::name(t.dtype)) + ", which cannot be read");
  return t;
}

std::vector<float> weight_file::vector(std::string_view tensor, std::size_t size) const {
  std::vector<float> values(size);
  const rows_view<float> row{values.data(), 1, size};
  qwha::io::read_rows(name_, at(tensor, 1, size), 0, row, executor::serial());
  check_finite(name_, std::string(tensor), 0, row);
  return values;
}

matrix weight_file::dense(std::string_view tensor, std::size_t rows, std::size_t cols) const {
  const qwha::io::tensor& t = at(tensor, rows, cols);
  matrix w(rows, cols);
  qwha::io::read_rows(name_, t, 0, w.view());
  check_finite(name_, t.name, 0, w.view());
  return w;
}

std::shared_ptr<const weight_source> weight_file::stored(std::string_view tensor, std::size_t rows,
                                                         std::size_t cols) const {
  const auto keep_open = gguf_ ? std::shared_ptr<const void>(gguf_) : std::shared_ptr<const void>(safetensors_);
  return std::make_shared<file_weights>(keep_open, name_, at(tensor, rows, cols));
}

std::size_t weight_file::elements() const {
  std::size_t n = 0;
  for (const qwha::io::tensor& t : gguf_ ? gguf_->tensors() : safetensors_->tensors()) n += t.size();
  return n;
}

}  // namespace engine
